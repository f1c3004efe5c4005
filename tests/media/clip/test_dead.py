"""What counts as no sound and as no living picture, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polymodal.data.ragged import Array
from polymodal.media.clip.dead import SETTLED, STUCK, Stillness, is_silence
from polymodal.media.clip.decode import Media
from polymodal.media.types import RATE, Frame, Samples

Maker = Callable[..., Path]
STEP = 2.0**-15
"""One step of 16 bit."""


def heard(clip: Path) -> Array:
    with Media(clip) as media:
        return np.concatenate([p.values for p in media.pieces(video=False) if isinstance(p, Samples)])


def seen(clip: Path) -> list[Frame]:
    with Media(clip) as media:
        return [p for p in media.pieces(audio=False) if isinstance(p, Frame)]


def longest(frames: list[Frame]) -> float:
    """Return the longest time for which the picture stood still."""
    stillness, found = Stillness(), 0.0
    for frame in frames:
        stillness.push(frame.time, frame.image)
        found = max(found, frame.time - stillness.since)
    return found


def test_zeros_dither_and_a_constant_are_silence_and_a_faint_tone_is_not() -> None:
    rng = np.random.default_rng(0)
    assert is_silence(np.zeros(RATE, np.float32))
    assert is_silence(np.full(RATE, 0.1, np.float32))
    assert is_silence(STEP * rng.integers(-1, 2, RATE).astype(np.float32))
    assert not is_silence(STEP * 6 * np.sin(np.arange(RATE) / 10, dtype=np.float32))
    click = np.zeros(RATE, np.float32)
    click[5000] = 0.01
    assert not is_silence(click)
    assert not is_silence(np.zeros(0, np.float32))


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv", "a.avi", "a.mpg", "a.ogg", "a.mp3", "a.flac", "a.wav"])
def test_digital_silence_is_silence_behind_every_codec(make_clip: Maker, name: str) -> None:
    assert is_silence(heard(make_clip(name, video=None, samples=np.zeros((1, 48_000), np.float32))))


def test_no_part_of_a_real_recording_is_silence_even_forty_times_fainter(shared: Path) -> None:
    data = shared / "data"
    clips = [*sorted((data / "emodb/audio").iterdir())[::20], *sorted((data / "grid_av_speech").glob("*/*.mpg"))]
    for clip in clips:
        values = heard(clip) / 40
        for first in range(0, len(values) - RATE // 5, RATE // 5):
            assert not is_silence(values[first : first + RATE // 5]), f"{clip} at {first / RATE} s"


def test_a_real_face_never_stands_still_not_even_while_it_is_silent(shared: Path, make_clip: Maker) -> None:
    clips = sorted((shared / "data/grid_av_speech").glob("*/*.mpg"))
    assert all(longest(seen(clip)) < STUCK / 2 for clip in clips)
    before_speech = [f.image for f in seen(clips[0])[:10]]
    forth_and_back = [*before_speech, *before_speech[::-1]] * 4
    assert longest(seen(make_clip("quiet.mp4", images=forth_and_back, audio=None))) < STUCK / 2


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.mpg"])
def test_a_stuck_picture_stands_still_behind_every_codec(shared: Path, make_clip: Maker, name: str) -> None:
    image = seen(shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg")[20].image
    frames = seen(make_clip(name, images=[image] * 75, audio=None))
    assert longest(frames) >= frames[-1].time - SETTLED


def test_a_slow_change_is_a_change() -> None:
    ramp = [Frame(i / 25, np.full((64, 64, 3), 100 + i, np.uint8)) for i in range(50)]
    assert longest(ramp) < 0.3
    assert longest([Frame(f.time, ramp[0].image) for f in ramp]) == ramp[-1].time


def test_one_block_that_moves_is_enough_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    noisy = [Frame(i / 25, rng.normal(100, 4, (64, 64, 3)).clip(0, 255).astype(np.uint8)) for i in range(50)]
    assert longest(noisy) == noisy[-1].time
    for i, frame in enumerate(noisy):
        frame.image[8:16, 8:16] += np.uint8(10 * (i // 10 % 2))
    assert longest(noisy) < 0.5


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 90, 3), (100, 60, 3)])
def test_pictures_of_any_size_are_black_or_not(shape: tuple[int, ...]) -> None:
    stillness, lamp = Stillness(), np.zeros(shape, np.uint8)
    stillness.push(0.0, lamp)
    assert stillness.dark
    lamp[:8, :8] = 100
    stillness.push(0.1, lamp)
    assert not stillness.dark
    assert stillness.since == 0.1
