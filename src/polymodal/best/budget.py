"""Time: what was asked for, what is spent, over all the times that a search was started."""

from __future__ import annotations

import time
from collections.abc import Callable


class OutOfTime(Exception):
    """A training would not be done in time; nothing of it counts."""


class Budget:
    """A stretch of time that counts on where it was left.

    Args:
        minutes: the limit.
        clock: seconds from any zero.

    Attributes:
        seconds: the limit.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._before, self._clock, self._began = 60 * minutes, 0.0, clock, clock()

    def resume(self, spent: float) -> None:
        """Count the seconds ``spent`` by earlier starts too."""
        self._before = spent

    @property
    def spent(self) -> float:
        """Seconds since the beginning of the first start, the pauses between left out."""
        return self._before + self._clock() - self._began

    @property
    def left(self) -> float:
        """Seconds until the limit; below 0 where it is over."""
        return self.seconds - self.spent

    def ends_in(self, seconds: float) -> Callable[[], None]:
        """Return what raises OutOfTime when it is called ``seconds`` from now or later."""
        limit = self.spent + seconds

        def check() -> None:
            if self.spent > limit:
                raise OutOfTime

        return check

    def __str__(self) -> str:
        """How much of it is spent, as ``3:07 of 20:00``."""
        return f"{written(self.spent)} of {written(self.seconds)}"


def written(seconds: float) -> str:
    """Return ``minutes:seconds``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
