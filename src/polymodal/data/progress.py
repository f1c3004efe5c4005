"""Progress of long work: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from polymodal.core.text import printable


class Plain(Console):
    """A console that what it prints cannot command: names and texts are of strangers."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does, without what a terminal would obey."""
        return super().render_str(printable(text), **options)


console = Plain(stderr=True, highlight=False, markup=False)
"""Where people are talked to; standard output is left for data."""


def screen() -> Console:
    """Return standard output for tables; what is put into them is to be escaped (``rich.markup.escape``)."""
    return Plain(highlight=False)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a rich Progress that vanishes when done and shows nothing when standard error is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
