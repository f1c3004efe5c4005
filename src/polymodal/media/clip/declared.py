"""What the tables of an MP4 or QuickTime file promise, counted before a decoder makes room for it.

A few bytes can declare millions of samples, and FFmpeg takes some thirty bytes of memory for each before it looks at
the first one. No sample is smaller than a byte, so a file cannot hold more samples than it has bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polymodal.core.limits import TooMuchError

if TYPE_CHECKING:
    from polymodal.media.clip.content import Content

SAMPLES = 50_000_000
"""Most samples that all tracks together may declare: uncompressed sound of 48 kHz counts each, a quarter of an hour of
it has 43 million."""

BOXES = 20_000
"""Boxes that are looked at."""

_INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4}
"""Box -> bytes between its head and the number of its samples: version and flags, then a size where it has one."""


def check_declared(content: Content) -> None:
    """Raise TooMuchError for an MP4 whose tables promise more samples than its bytes can hold, or than are taken."""
    if content.read(4, 4) not in (b"ftyp", b"moov", b"moof", b"wide", b"free", b"skip", b"mdat", b"styp"):
        return
    samples = 0
    for kind, start in _boxes(content):
        samples += int.from_bytes(content.read(start + _COUNTS[kind], 4), "big")
        if samples > min(content.size, SAMPLES):
            raise TooMuchError(
                f"{content.name} declares {samples:,} samples or more in {content.size:,} bytes; it is damaged or "
                "made to fill the memory: record or convert it again"
            )


def _boxes(content: Content) -> Iterator[tuple[bytes, int]]:
    """Yield the kind of each box that counts samples, and where its content begins."""
    waiting, seen = [(0, content.size)], 0
    while waiting:
        at, end = waiting.pop()
        while at + 8 <= end and seen < BOXES:
            seen += 1
            head = content.read(at, 16)
            size, kind, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
            if size == 1:
                size, skip = int.from_bytes(head[8:16], "big"), 16
            if size < skip:  # 0: to the end of the file; less is no size
                size = end - at
            if kind in _INSIDE:
                waiting.append((at + skip, min(at + size, end)))
            elif kind in _COUNTS:
                yield kind, at + skip
            at += size
