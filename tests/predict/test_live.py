"""Live use: a clip as if it was played, and devices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from polymodal import Run
from polymodal.core import DataError
from polymodal.media.types import RATE, Frame, Samples
from polymodal.predict.devices import WAITING, camera_and_microphone
from polymodal.predict.live import LATE_FRAME, LATE_SOUND, Clock, paced, watch
from polymodal.predict.predictor import Predictor

MakeRun = Callable[..., Run]
PICTURE = ("lavfi", "testsrc=size=64x48:rate=50,realtime")
SOUND = ("lavfi", "sine=frequency=440:sample_rate=44100,arealtime")


def _pieces(seconds: float) -> list[Frame | Samples]:
    image = np.zeros((4, 4, 3), np.uint8)
    found: list[Frame | Samples] = []
    for i in range(round(seconds * 10)):
        found += [Frame(i / 10, image), Samples(i / 10, np.zeros(RATE // 10, np.float32))]
    return found


class Wall:
    """A wall clock on which only sleeping takes time, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    found = Wall()
    monkeypatch.setattr("polymodal.predict.live.time", found)
    return found


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip of 0.6 s without decoding."""

    class Media:
        def __init__(self, source: Any, *, name: str | None = None) -> None:
            self.info = SimpleNamespace(has_audio=True, has_video=True)

        def __enter__(self) -> Media:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def pieces(self, **_: Any) -> Iterator[Frame | Samples]:
            return iter(_pieces(0.6))

    monkeypatch.setattr("polymodal.media.clip.decode.Media", Media)


@pytest.mark.usefixtures("played", "wall")
def test_a_clip_is_played_at_its_own_pace() -> None:
    clock = Clock()
    for piece in paced("clip", clock, fps=25):
        due = piece.end if isinstance(piece, Samples) else piece.time
        assert -1e-6 <= clock.now() - due <= 0.1 + 1e-6  # a frame is read behind the sound that begins with it
    assert clock.now() == pytest.approx(0.6)


@pytest.mark.usefixtures("played")
def test_what_is_late_is_dropped_frames_sooner_than_sound(wall: Wall) -> None:
    clock = Clock()
    clock.now()
    wall.sleep(0.35 + LATE_FRAME)
    found = list(paced("clip", clock, fps=25))
    assert [p.time for p in found if isinstance(p, Frame)] == [0.4, 0.5]
    assert sum(isinstance(p, Samples) for p in found) == 6
    wall.sleep(0.3 + LATE_SOUND)
    assert list(paced("clip", clock, fps=25)) == []


class _Slow:
    """A predictor that takes its time for every estimate."""

    def __init__(self, wall: Wall) -> None:
        self.wall = wall

    def stream(self, pieces: Any, *, rolling: tuple[float, float]) -> Iterator[Any]:
        assert rolling == (4.0, 0.5)
        for piece in pieces:
            self.wall.sleep(0.05)
            yield SimpleNamespace(end=piece.time)


def test_the_latency_is_from_the_newest_piece_to_the_estimate(wall: Wall) -> None:
    clock = Clock()

    def pieces() -> Iterator[Samples]:
        for _ in range(3):
            wall.sleep(0.02)
            yield Samples(clock.now(), np.zeros(0, np.float32))

    glances = list(watch(_Slow(wall), pieces(), clock))  # type: ignore[arg-type]
    assert len(glances) == 3
    assert [g.latency for g in glances] == pytest.approx([0.05] * 3)


def test_devices_give_frames_at_most_so_many_a_second_and_gapless_sound() -> None:
    clock, frames, sounds = Clock(), [], []
    for piece in camera_and_microphone(clock, fps=20, devices=(PICTURE, SOUND)):
        (frames if isinstance(piece, Frame) else sounds).append(piece)
        if clock.now() > 1.0:
            break
    assert 15 <= len(frames) <= 22
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.dtype == np.uint8
    for before, after in pairwise(sounds):
        assert after.time == pytest.approx(before.end)
    assert sum(len(s.values) for s in sounds) == pytest.approx(RATE, rel=0.3)
    wave = np.concatenate([s.values for s in sounds])
    assert np.abs(np.fft.rfft(wave[: RATE // 2])).argmax() * 2 == pytest.approx(440, abs=4)


def test_one_device_is_enough_and_a_slow_reader_misses_the_oldest() -> None:
    clock = Clock()
    stream = camera_and_microphone(
        clock, fps=1000, devices=(("lavfi", "testsrc=size=16x16:rate=500"), ("alsa", "none"))
    )
    next(stream)
    time.sleep(0.3)
    times = [next(stream).time for _ in range(WAITING)]
    assert times == sorted(times)
    assert times[0] > 0.05  # what came first has made room
    stream.close()  # type: ignore[attr-defined]


def test_no_device_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"the camera cannot be opened .*the microphone cannot be opened .*--live") as e:
        next(camera_and_microphone(Clock(), fps=25, devices=(("v4l2", "/dev/none"), ("nosuch", "none"))))
    assert "\n" not in str(e.value)


@pytest.fixture
def grid_clip(shared: Path) -> Path:
    return sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg"))[0]


@pytest.mark.slow
def test_a_real_clip_is_watched_while_it_plays(make_run: MakeRun, grid_clip: Path) -> None:
    """Sound only: six estimates in three seconds, each known soon after its end."""
    run = make_run("sound", extraction={"audio": "logmel", "vision": "none", "text": "none"})
    clock = Clock()
    glances = list(watch(Predictor(run), paced(grid_clip, clock, fps=25), clock))
    ends = [g.moment.end for g in glances]
    assert ends == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0][: len(ends)], abs=0.05)
    assert len(ends) >= 4
    assert all(g.moment.present == ("audio",) for g in glances)
    assert max(g.latency for g in glances[1:]) < 0.5
