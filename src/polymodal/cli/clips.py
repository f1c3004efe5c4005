"""What commands that read several clips have in common: names of files, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from polymodal.core.errors import OptionError, listed

T = TypeVar("T")

PLOTS = (".png", ".svg", ".pdf")


def names_of(clips: Sequence[str]) -> list[str]:
    """Return a file name without ending for each clip, numbered where it is taken."""
    names: list[str] = []
    for clip in clips:
        stem, number = Path(clip).stem, 1
        name = stem
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def place_of(file: str, name: str) -> Path:
    """Return ``file``, with ``name`` appended to its stem unless that is empty."""
    path = Path(file)
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if name else path


def check_outputs(plot: str | None, html: str | None, out: str | None, *, tables: Sequence[str] = ()) -> None:
    """Raise OptionError for files that cannot be written, before the first clip is read.

    Args:
        tables: endings with which ``out`` is a file; with any other it is a folder.
    """
    if plot and Path(plot).suffix.lower() not in PLOTS:
        raise OptionError(f"--plot {plot} must end in {', '.join(PLOTS)}")
    table = out if out and Path(out).suffix.lower() in tables else None
    for option, file in (("--plot", plot), ("--html", html), ("--out", table)):
        if file and (not Path(file).name or Path(file).is_dir()):
            raise OptionError(f"{option} {file} is a folder; name a file in it")
        if file:
            _check_folder(option, file, Path(file).parent)
    if out and not table:
        if Path(out).exists() and not Path(out).is_dir():
            ending = f", or end it in {listed(tables)}" if tables else ""
            raise OptionError(f"--out {out} is a file; name a folder{ending}")
        _check_folder("--out", out, Path(out))


def _check_folder(option: str, named: str, folder: Path) -> None:
    """Raise OptionError where ``folder``, which is made if it is not there, cannot take a file."""
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise OptionError(f"{option} {named} cannot be written: {above} is a file; name another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OptionError(f"{option} {named} cannot be written: {above} takes no files of yours; name another folder")


def with_progress(clip: str, work: Callable[[Callable[[float], None] | None], T]) -> T:
    """Return what ``work`` returns; on a terminal, what it tells of its seconds is shown."""
    from rich.markup import escape

    from polymodal.core.text import printable
    from polymodal.data.progress import console

    if not console.is_terminal:
        return work(None)
    name = escape(printable(Path(clip).name))
    with console.status(f"reading {name}") as status:
        return work(lambda s: status.update(f"{name}: {s:.0f} s"))
