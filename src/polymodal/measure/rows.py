"""What gets a row of its own: a turn, a segment of a transcript, a window, or the clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from polymodal.core import DataError
from polymodal.measure.grid import joined
from polymodal.measure.signals import Signals
from polymodal.media.types import Segment, Word
from polymodal.media.words.turns import evenly


def within(segments: Sequence[Segment], signals: Signals) -> list[Segment]:
    """Return the segments of a transcript, cut to the clip, all with words.

    Words of a segment without times share its time equally: their number is right, their times are not.

    Raises:
        DataError: no segment lies within the clip.
    """
    found = []
    for segment in segments:
        if segment.start < signals.duration:
            end = min(segment.end, signals.duration)
            words = segment.words or tuple(evenly(segment.text.split(), segment.start, end))
            found.append(replace(segment, end=end, words=words))
    if not found:
        raise DataError(
            f"{signals.name} lasts {signals.duration:.1f} s and no segment of the transcript lies within it; give the "
            "transcript of this clip"
        )
    return found


def cut(signals: Signals, segments: Sequence[Segment] | None, by: str, *, window: float, gap: float) -> list[Segment]:
    """Return the rows of a clip, in the order of their starts.

    Args:
        segments: of a transcript, see ``within``.
        by: ``speech``, ``transcript``, ``windows`` or ``clip``.
        window: seconds of a window; a last piece of less than half a window is left out.
        gap: seconds of silence that end a turn.
    """
    if by == "transcript" and segments is not None:
        return sorted(segments, key=lambda s: (s.start, s.end))
    end = signals.duration
    if by == "windows":
        count = max(1, math.floor(end / window + 0.5))
        spans = [(i * window, min((i + 1) * window, end)) for i in range(count)]
    else:
        spans = joined(signals.stretches, gap) if by == "speech" else []
    words = all_words(signals, segments)
    return [_told(start, min(stop, end), words) for start, stop in spans or [(0.0, end)]]


def all_words(signals: Signals, segments: Sequence[Segment] | None) -> tuple[Word, ...]:
    """Return the words of the transcript, or those that were recognised."""
    return signals.words if segments is None else tuple(w for s in segments for w in s.words)


def _told(start: float, end: float, words: Sequence[Word]) -> Segment:
    said = tuple(w for w in words if start <= (w.start + w.end) / 2 < end)
    return Segment(round(start, 3), round(end, 3), " ".join(w.text for w in said), said)
