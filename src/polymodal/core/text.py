"""Text that strangers wrote: made fit for files, for a terminal, for a table. Importing this costs no torch."""

from __future__ import annotations

import re
from typing import Any

_LONE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, turns the direction of writing round, or cannot be encoded."""
_FORMULA = re.compile(r"[=+\-@\t\r]")


def clean(text: str) -> str:
    """Return ``text`` as UTF-8 can hold it: halves of surrogate pairs, which JSON and pickles may bring, become U+FFFD,
    control characters (of a terminal, for example) a space."""
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(" ", _LONE.sub("\ufffd", text))


def printable(text: str) -> str:
    """Return ``text`` as a person can read it, the same for no two texts of a kind: what a terminal would obey and what
    no file could hold is written out (``\\x1b``; the byte of a file name that is not UTF-8 as ``\\xe9``)."""
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # what Python makes of a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def cell(value: Any) -> Any:
    """Return a cell of a CSV file; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
