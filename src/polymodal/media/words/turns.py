"""What every transcript format needs: checked times, words with and without times, words grouped into segments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from polymodal.core import DataError
from polymodal.media.types import Segment, Word

PAUSE = 0.6
"""Seconds between two words after which a new segment begins, in transcripts that have words only."""


def checked(where: str, start: float, end: float) -> tuple[float, float]:
    """Return the times; DataError, beginning with ``where``, unless ``0 <= start <= end`` and both are finite."""
    if not (0 <= start <= end and math.isfinite(end)):
        raise DataError(
            f"{where}: expected a start from 0 upwards and an end not before it, found {start:g} to {end:g}"
        )
    return start, end


def evenly(texts: Sequence[str], start: float, end: float) -> list[Word]:
    """Return words that share a stretch of time equally."""
    step = (end - start) / max(1, len(texts))
    edges = [*(start + i * step for i in range(len(texts))), end]
    return [Word(t, a, b) for t, a, b in zip(texts, edges, edges[1:], strict=False)]


def filled(words: Sequence[Word | str], start: float, end: float) -> tuple[Word, ...]:
    """Return ``words`` with times for all: those that are only text (numbers, in the files of forced aligners) share
    the time between their neighbours. () where none has times.

    Args:
        start, end: of the segment.
    """
    if not any(isinstance(w, Word) for w in words):
        return ()
    done: list[Word] = []
    waiting: list[str] = []
    for word in [*words, Word("", end, end)]:
        if isinstance(word, str):
            waiting.append(word)
            continue
        since = done[-1].end if done else start
        done += [*evenly(waiting, since, max(since, word.start)), word]
        waiting = []
    return tuple(done[:-1])


def grouped(words: Sequence[Word], speaker: str = "") -> list[Segment]:
    """Cut words into segments at pauses longer than PAUSE."""
    groups: list[list[Word]] = []
    reach = -math.inf
    for word in sorted(words, key=lambda w: (w.start, w.end)):
        if word.start - reach > PAUSE:
            groups.append([])
        groups[-1].append(word)
        reach = max(reach, word.end)
    return [Segment(g[0].start, max(w.end for w in g), " ".join(w.text for w in g), tuple(g), speaker) for g in groups]
