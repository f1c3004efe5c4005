"""What a part of a report consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polymodal.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: file name of the figure, anchor on the page.
        title: the heading.
        figure: what to draw, or None.
        alt: the figure in words.
        caption: what the figure shows and how it was made.
        table: what to list, or None.
        missing: why there is nothing to show, and what to do about it.
        words: what the table says, in a sentence.
    """

    name: str
    title: str
    figure: Figure | None = None
    alt: str = ""
    caption: str = ""
    table: Table | None = None
    missing: str = ""
    words: str = ""
