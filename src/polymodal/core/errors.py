"""Errors a user can act on: one sentence that says what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from polymodal.core.text import printable

LONGEST = 2000
"""Characters of a message: what it quotes may be of any length."""


class PolymodalError(Exception):
    """Base of every error caused by input rather than by a defect; the command line prints it without a traceback.

    What a message quotes is strangers' text: what a terminal would obey is written out, and of a message that is too
    long the middle is left out.
    """

    def __init__(self, message: str = "") -> None:
        whole = printable(message)
        super().__init__(whole if len(whole) <= LONGEST else f"{whole[: LONGEST // 2]} ... {whole[-LONGEST // 2 :]}")


class DataError(PolymodalError):
    """A file or corpus cannot be used as it is."""


class OptionError(PolymodalError, ValueError):
    """An option, name or combination of options is wrong."""


class RunError(PolymodalError):
    """A run folder is missing, incomplete, or belongs to something else."""


class TrainingError(PolymodalError):
    """Training cannot go on, for example because a loss became NaN."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` plus all choices, to be appended to a message about an unknown name."""
    options = sorted(choices)
    close = get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (available: {listed(options) or 'none'})"


def listed(names: Iterable[str], most: int = 100) -> str:
    """Return ``names`` with commas between them, as far as a sentence bears: each cut at 60 characters, the rest
    counted."""
    every = [name if len(name) <= 60 else f"{name[:60]}..." for name in names]
    return ", ".join(every[:most]) + (f", and {len(every) - most} more" if len(every) > most else "")
