"""An estimate every half second while a stream is still going on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from polymodal.media.types import Frame, Samples, Source
from polymodal.predict.predictor import Predictor
from polymodal.predict.timeline import Moment

WINDOW, STEP = 4.0, 0.5
"""Seconds that an estimate looks back, and between estimates."""

LATE_FRAME, LATE_SOUND = 0.25, 1.0
"""Seconds after which a piece is not worth looking at any more: estimates must not get later and later."""


class Clock:
    """Seconds of a stream as they pass on the wall, from the first look on."""

    def __init__(self) -> None:
        self._began: float | None = None

    def now(self) -> float:
        """Return seconds since the first call."""
        if self._began is None:
            self._began = time.monotonic()
        return time.monotonic() - self._began


@dataclass(frozen=True)
class Glance:
    """A moment, and how many seconds after its end it was known."""

    moment: Moment
    latency: float


def watch(
    predictor: Predictor,
    pieces: Iterable[Frame | Samples],
    clock: Clock,
    *,
    window: float = WINDOW,
    step: float = STEP,
) -> Iterator[Glance]:
    """Yield an estimate of the last ``window`` seconds about every ``step`` seconds; what is late already is left out.

    Args:
        predictor: what judges.
        pieces: a stream whose times are those of ``clock``.
        clock: when a piece is there.
        window, step: seconds.

    Raises:
        RunError: the run cannot be applied to clips.
    """
    for moment in predictor.stream(pieces, rolling=(window, step)):
        yield Glance(moment, clock.now() - moment.end)


def paced(source: Source, clock: Clock, *, fps: float, name: str | None = None) -> Iterator[Frame | Samples]:
    """Yield the pieces of a clip when they would be seen and heard if it was played; what is late is dropped.

    Raises:
        DataError: the clip cannot be read.
    """
    from polymodal.media.clip.decode import Media

    with Media(source, name=name) as media:
        for piece in media.pieces(audio=media.info.has_audio, video=media.info.has_video, fps=fps):
            due, late = (piece.end, LATE_SOUND) if isinstance(piece, Samples) else (piece.time, LATE_FRAME)
            ahead = due - clock.now()
            if ahead > 0:
                time.sleep(ahead)
            if ahead > -late:
                yield piece
