"""Presentation times that can be trusted: they follow the container where it makes sense, and never leave reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Generic, TypeVar

T = TypeVar("T")

BACK = 1.0
"""Seconds that times may go back (an overlap); a larger step back is another numbering, as in files joined together."""

PAUSE = 60.0
"""Seconds of silence or stillness that are believed even where the container does not say how long the clip is."""

STALL = 2000
"""Pieces in a row that bring nothing new before reading stops."""


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """A decoded piece, the time written on it in seconds (None: nothing is written) and its length in seconds."""

    piece: T
    time: float | None
    length: float


class Axis:
    """Places the pieces of one stream on the clip's axis.

    - A single piece with a time unlike both its neighbours' follows the piece before it.
    - A jump ahead is believed up to PAUSE, and up to the clip's declared end.
    - Other jumps renumber: what follows goes on where the stream was.

    Args:
        origin: the time written where the clip begins.
        declared: end of the clip on its axis as its container says, 0 if unknown.
        bearable: seconds between two pieces that do not count as missing.

    Attributes:
        end: where the piece that lasts longest ends, in seconds on the axis.
        jumps: how many jumps were not believed.
        missing: seconds between pieces that are farther apart than is bearable.
        missing_at: time of the first of them.
        stalled: whether so many pieces brought nothing new that reading stopped.
    """

    def __init__(self, origin: float, declared: float, bearable: float) -> None:
        self._shift, self._declared, self._bearable = -origin, declared, bearable
        self.end, self.jumps, self.stalled = 0.0, 0, False
        self.missing = self.missing_at = 0.0

    def placed(self, pieces: Iterable[Stamped[T]]) -> Iterator[tuple[float, T]]:
        """Yield each piece with its time on the axis; it may overlap the piece before by up to BACK."""
        stale = 0
        for now, following in pairwise(chain(pieces, (None,))):
            if now is None:
                return
            time = self._place(now.time, following.time if following else None)
            if self.end and time - self.end > self._bearable:
                self.missing_at = self.missing_at or self.end
                self.missing += time - self.end
            stale = 0 if time + now.length > self.end else stale + 1
            self.end = max(self.end, time + now.length)
            yield time, now.piece
            if stale > STALL:
                self.stalled = True
                return

    def _place(self, written: float | None, following: float | None) -> float:
        if written is None:
            return self.end
        time = written + self._shift
        ahead = time - self.end
        alone = ahead > BACK and self._near(following)
        if ahead >= -BACK and not alone and time <= max(self.end + PAUSE, self._declared):
            return time
        self.jumps += 1
        if not self._near(following):
            self._shift -= ahead
        return self.end

    def _near(self, written: float | None) -> bool:
        """Whether a time goes on where the stream is."""
        return written is not None and abs(written + self._shift - self.end) <= BACK
