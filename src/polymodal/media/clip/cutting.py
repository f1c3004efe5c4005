"""Where one utterance ends and the next begins, decided while the clip is being read.

A cutter is asked after every piece of the clip. ``settled`` is the time before which nothing will change any more: all
pieces are there and speech in it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from polymodal.media.types import Segment


class Cutter(Protocol):
    """What reading needs to know."""

    def closed(self, settled: float) -> list[Segment]:
        """Return the segments that are complete by now, in the order of their ends, each one once."""
        ...

    def finish(self, end: float) -> list[Segment]:
        """Return the rest; the clip ends at ``end``."""
        ...

    @property
    def needed_since(self) -> float:
        """What came before this time is not needed any more."""
        ...


class Given:
    """Segments known beforehand; an end beyond the clip means the clip's end."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._left = sorted(segments, key=lambda s: s.end)
        earliest = float("inf")
        self._since = [earliest := min(earliest, s.start) for s in reversed(self._left)]  # of the last i + 1 segments

    def closed(self, settled: float) -> list[Segment]:
        """Return the segments that end by ``settled``."""
        count = next((i for i, s in enumerate(self._left) if s.end > settled), len(self._left))
        done, self._left = self._left[:count], self._left[count:]
        return done

    def finish(self, end: float) -> list[Segment]:
        """Return all others, cut to the clip."""
        done, self._left = self._left, []
        return [replace(s, end=max(s.start, min(s.end, end))) for s in done]

    @property
    def needed_since(self) -> float:
        """Earliest start of what is left."""
        return self._since[len(self._left) - 1] if self._left else float("inf")


class Windows:
    """Consecutive windows of ``length`` seconds; a last piece shorter than half of it joins nothing and is left out."""

    def __init__(self, length: float) -> None:
        self._length, self._start = length, 0.0

    def closed(self, settled: float) -> list[Segment]:
        """Return the windows that end by ``settled``."""
        done = []
        while self._start + self._length <= settled:
            done.append(Segment(self._start, self._start + self._length))
            self._start += self._length
        return done

    def finish(self, end: float) -> list[Segment]:
        """Return the remaining whole windows and the last piece, if it is long enough or all there is."""
        done = self.closed(end)
        if end - self._start >= self._length / 2 or self._start == 0.0:
            done.append(Segment(self._start, end))
        return done

    @property
    def needed_since(self) -> float:
        """Start of the current window."""
        return self._start


class Rolling:
    """Overlapping windows for live use: the last ``length`` seconds, every ``step`` seconds."""

    def __init__(self, length: float, step: float) -> None:
        self._length, self._step, self._next = length, step, step

    def closed(self, settled: float) -> list[Segment]:
        """Return the newest window only: an estimate that is late already helps nobody."""
        if settled < self._next:
            return []
        self._next += self._step * int((settled - self._next) / self._step)
        end, self._next = self._next, self._next + self._step
        return [Segment(max(0.0, end - self._length), end)]

    def finish(self, end: float) -> list[Segment]:
        """Return nothing: the last estimate has been given."""
        return []

    @property
    def needed_since(self) -> float:
        """Start of the next window."""
        return self._next - self._length


class Speech:
    """Stretches of speech as they are found, and windows where somebody is silent before the camera.

    A stretch without speech, at least ``window`` seconds long, is cut into windows; those without a face are left out
    as soon as anything has been found in the clip.

    Args:
        window: seconds.
        face: whether a face was tracked between two times.
    """

    def __init__(self, window: float, face: Callable[[float, float], bool]) -> None:
        self._window, self._face = window, face
        self._covered, self._found = 0.0, False
        self._spoken: list[Segment] = []

    def heard(self, segments: Sequence[Segment]) -> None:
        """Take the stretches of speech that have just ended."""
        self._spoken += segments

    def closed(self, settled: float) -> list[Segment]:
        """Return the stretches of speech, and the windows before and between them, up to ``settled``."""
        done: list[Segment] = []
        for segment in self._spoken:
            done += [*self._windows(segment.start), segment]
            self._covered, self._found = segment.end, True
        self._spoken = []
        return done + self._windows(settled)

    def _windows(self, until: float) -> list[Segment]:
        done = []
        while until - self._covered >= self._window:
            window = Segment(self._covered, self._covered + self._window)
            self._covered = window.end
            seen = self._face(window.start, window.end)
            if seen or not self._found:
                done.append(window)
            self._found = self._found or seen
        return done

    def finish(self, end: float) -> list[Segment]:
        """Return the rest; the whole clip if it is short and nothing was found in it."""
        done = self.closed(end)
        return done if done or self._covered else [Segment(0.0, end)]

    @property
    def needed_since(self) -> float:
        """End of what has been cut off."""
        return self._covered
