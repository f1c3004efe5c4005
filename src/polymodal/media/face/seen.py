"""Frames of a clip on their way through the face tracker, and what it found in the last ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from polymodal.data.ragged import Array
from polymodal.media.face.tracker import FaceReading
from polymodal.media.types import Frame, Track

WAITING = 32 * 2**20
"""Bytes of frames that may wait for the face tracker, so that speech is found, and transcribed, meanwhile."""


class Seen:
    """What was seen lately.

    Args:
        tracker: a ``FaceTracker``; None where nobody looks.
        executor: where it works.
        timed: called with ``vision`` and what is to be done.
    """

    def __init__(
        self, tracker: Any, executor: Executor, timed: Callable[[str, Callable[[], FaceReading]], FaceReading]
    ) -> None:
        self._tracker, self._executor, self._timed = tracker, executor, timed
        self._waiting: deque[tuple[Future[FaceReading], int]] = deque()
        self._bytes = 0
        self._found: deque[FaceReading] = deque()
        self._frames = self._tracked = 0

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        if self._tracker is None:
            return
        work = self._executor.submit(lambda: self._timed("vision", lambda: self._tracker.push(frame)))
        self._waiting.append((work, frame.image.nbytes))
        self._bytes += frame.image.nbytes
        while self._bytes > WAITING:
            self._take()

    def _take(self) -> None:
        work, size = self._waiting.popleft()
        self._bytes -= size
        reading = work.result()
        self._found.append(reading)
        self._frames += 1
        self._tracked += reading.tracked

    def _between(self, start: float, end: float) -> list[FaceReading]:
        while self._waiting:
            self._take()
        times = [r.time for r in self._found]
        return list(self._found)[bisect_left(times, start) : bisect_left(times, end)]

    def seen(self, start: float, end: float) -> bool:
        """Return whether a face was tracked from ``start`` to ``end``."""
        return any(r.tracked for r in self._between(start, end))

    def track(self, start: float, end: float) -> Track | None:
        """Return the frames from ``start`` to ``end``; None where no face is among them."""
        found = self._between(start, end)
        if not any(r.tracked for r in found):
            return None
        values: Array = np.stack([r.values for r in found])
        return Track(np.array([r.time for r in found]), values)

    def forget(self, before: float) -> None:
        """Drop what was seen before a time."""
        while self._found and self._found[0].time < before:
            self._found.popleft()

    @property
    def share(self) -> float | None:
        """Share of the frames with a face; None without frames."""
        return self._tracked / self._frames if self._frames else None
