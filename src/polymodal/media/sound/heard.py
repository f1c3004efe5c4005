"""The last stretch of a clip's sound, while the clip is being read."""

from __future__ import annotations

from collections import deque

import numpy as np

from polymodal.media.types import Samples


class Heard:
    """What was heard lately."""

    def __init__(self) -> None:
        self._kept: deque[Samples] = deque()

    def push(self, samples: Samples) -> None:
        """Take the next piece."""
        self._kept.append(samples)

    def forget(self, before: float) -> None:
        """Drop what ended before a time."""
        while self._kept and self._kept[0].end < before:
            self._kept.popleft()

    def between(self, start: float, end: float) -> Samples:
        """Return what was heard from ``start`` to ``end``, as far as it is there."""
        parts = [s for s in self._kept if s.end > start and s.time < end]
        if not parts:
            return Samples(start, np.zeros(0, np.float32))
        return Samples(parts[0].time, np.concatenate([s.values for s in parts])).cut(start, end)
