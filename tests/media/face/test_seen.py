"""Frames on their way through the tracker: each keeps what its own picture says, however late it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.media.face.seen import Seen, Sight
from polymodal.media.face.tracker import FaceReading
from polymodal.media.types import Frame


class Later(Executor):
    """Does nothing before it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append(lambda: future.set_result(fn(*args, **kwargs)))
        return future


class Everywhere:
    """Sees a face in every frame."""

    def push(self, frame: Frame) -> FaceReading:
        return FaceReading(frame.time, np.ones(2, np.float32), None, True, 0)


def at_once(stage: str, work: Callable[[], Sight]) -> Sight:
    return work()


def test_a_picture_that_stands_still_at_last_was_not_still_before() -> None:
    later = Later()
    seen = Seen(Everywhere(), later, at_once)
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    for index in range(80):  # moves for four seconds, then stands still for four
        seen.push(Frame(index / 10, noise[min(index, 39)]))
    for work in later.waiting:
        work()
    moving, _ = seen.track(0, 3.9, crops=False)
    assert moving is not None
    assert len(moving) == 39
    assert seen.track(4.5, 8, crops=False) == (None, "the picture stands still")


def test_what_is_no_picture_is_refused_before_anything_looks_at_it() -> None:
    with pytest.raises(DataError, match=r"the frame at 1\.5 s is float64 of shape \(4, 4\), expected uint8"):
        Seen(Everywhere(), Later(), at_once).push(Frame(1.5, np.zeros((4, 4))))
