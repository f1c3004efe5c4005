"""Frames of a clip on their way through the face tracker, and what it found in the last ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.media.clip.dead import SETTLED, STUCK, Stillness
from polymodal.media.face.tracker import FaceReading, checked
from polymodal.media.types import Frame, Track

WAITING = 32 * 2**20
"""Bytes of frames that may wait for the face tracker, so that speech is found, and transcribed, meanwhile."""


@dataclass(frozen=True)
class Sight:
    """What was seen in a frame, since when the picture has been the same, and whether it is black."""

    face: FaceReading
    since: float
    dark: bool


class Seen:
    """What was seen lately.

    Args:
        tracker: a ``FaceTracker``; None where nobody looks.
        executor: where it works.
        timed: called with ``vision`` and what is to be done.
    """

    def __init__(self, tracker: Any, executor: Executor, timed: Callable[[str, Callable[[], Sight]], Sight]) -> None:
        self._tracker, self._executor, self._timed = tracker, executor, timed
        self._stillness = Stillness()
        self._waiting: deque[tuple[Future[Sight], int]] = deque()
        self._bytes = 0
        self._found: deque[Sight] = deque()
        self._frames = self._tracked = 0

    def push(self, frame: Frame) -> None:
        """Take the next frame; DataError as ``FaceTracker.push``."""
        if self._tracker is None:
            return
        # Here and not beside the tracker, which is what a clip waits for.
        self._stillness.push(frame.time, checked(frame))
        since, dark = self._stillness.since, self._stillness.dark
        work = self._executor.submit(lambda: self._timed("vision", lambda: self._look(frame, since, dark)))
        self._waiting.append((work, frame.image.nbytes))
        self._bytes += frame.image.nbytes
        while self._bytes > WAITING:
            self._take()

    def _look(self, frame: Frame, since: float, dark: bool) -> Sight:
        return Sight(self._tracker.push(frame), since, dark)

    def _take(self) -> None:
        work, size = self._waiting.popleft()
        self._bytes -= size
        sight = work.result()
        self._found.append(sight)
        self._frames += 1
        self._tracked += sight.face.tracked

    def _between(self, start: float, end: float) -> list[Sight]:
        while self._waiting:
            self._take()
        times = [s.face.time for s in self._found]
        return list(self._found)[bisect_left(times, start) : bisect_left(times, end)]

    def seen(self, start: float, end: float) -> bool:
        """Return whether a living face was tracked from ``start`` to ``end``."""
        found = self._between(start, end)
        return bool(found) and not _why_not(found)

    def track(self, start: float, end: float, *, crops: bool) -> tuple[Track | None, str]:
        """Return the features of all frames from ``start`` to ``end``, or the crops of those with a face.

        None, and why, where they show no living face.
        """
        found = self._between(start, end)
        if not found or (why := _why_not(found)):
            return None, why if found else ""
        pairs = [(s.face.time, s.face.crop if crops else s.face.values) for s in found]
        faces = [(time, values) for time, values in pairs if values is not None]
        return Track(np.array([time for time, _ in faces]), np.stack([values for _, values in faces])), ""

    def forget(self, before: float) -> None:
        """Drop what was seen before a time."""
        while self._found and self._found[0].face.time < before:
            self._found.popleft()

    @property
    def share(self) -> float | None:
        """Share of the frames with a face; None without frames."""
        return self._tracked / self._frames if self._frames else None


def _why_not(found: Sequence[Sight]) -> str:
    """Return why frames say nothing of a face; empty where they do."""
    tracked, last = any(s.face.tracked for s in found), found[-1]
    if not tracked and all(s.dark for s in found):
        return "the picture is black"
    if last.face.time - last.since >= STUCK and last.since <= found[0].face.time + SETTLED:
        return "the picture stands still"
    return "" if tracked else NO_FACE


NO_FACE = "the picture shows no face"
