from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from polymodal.media.clip.decode import Media
from polymodal.media.types import Frame

Maker = Callable[..., Path]


def shown(clip: Path, **options) -> tuple[Media, list[Frame]]:
    with Media(clip) as media:
        return media, [p for p in media.pieces(**options) if isinstance(p, Frame)]


@pytest.mark.parametrize(("source", "wanted"), [(50, 25), (30, 25), (25, 10), (60, 7.5)])
def test_at_most_the_wanted_frames_pass_and_none_twice(make_clip: Maker, source: int, wanted: float) -> None:
    _, frames = shown(make_clip("a.mp4", fps=source, seconds=2.0, audio=None), fps=wanted)
    times = np.array([f.time for f in frames])
    assert len(times) == pytest.approx(2 * wanted, abs=1)
    assert (np.diff(times) > 0.5 / wanted).all()
    assert np.isin(np.round(times * source, 3) % 1, [0.0, 1.0]).all()  # times are the container's, not counted


def test_rounded_times_lose_no_frame(make_clip: Maker) -> None:
    _, frames = shown(make_clip("a.mkv", fps=30, seconds=2.0, audio=None), fps=30)
    assert len(frames) == 60


def test_frames_of_a_variable_rate_are_picked_by_time(make_clip: Maker) -> None:
    times = [0.0, 0.01, 0.02, 0.04, 0.1, 0.5, 0.505, 0.51, 0.9, 2.9, 2.95]
    _, frames = shown(make_clip("a.mkv", times=times, audio=None), fps=25)
    assert [f.time for f in frames] == pytest.approx([0.0, 0.04, 0.1, 0.5, 0.9, 2.9, 2.95])
    _, frames = shown(make_clip("b.mkv", times=times, audio=None), fps=None)
    assert [f.time for f in frames] == pytest.approx(times)


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))])
def test_rotated_clips_come_out_upright(make_clip: Maker, rotation: int, corner: tuple[int, int]) -> None:
    clip = make_clip("a.mp4", rotation=rotation, audio=None, seconds=0.2)
    media, frames = shown(clip)
    image = frames[0].image
    assert image.shape == ((64, 96, 3) if rotation in (0, 180) else (96, 64, 3))
    assert (media.info.height, media.info.width) == image.shape[:2]
    quarters = {
        (y, x): image[y :: -1 if y else 1, x :: -1 if x else 1][:20, :20].mean((0, 1)) for y in (0, -1) for x in (0, -1)
    }
    red = max(quarters, key=lambda c: quarters[c][0] - quarters[c][1])
    assert red == corner


def test_pixels_that_are_not_square_are_made_square(make_clip: Maker) -> None:
    media, frames = shown(make_clip("a.mp4", aspect=Fraction(4, 3), audio=None, seconds=0.2))
    assert frames[0].image.shape == (64, 128, 3)
    assert (media.info.width, media.info.height) == (128, 64)


@pytest.mark.parametrize(("size", "codec"), [((95, 63), "mpeg4"), ((33, 17), "mjpeg"), ((2, 2), "mpeg4")])
def test_odd_sizes_are_kept(make_clip: Maker, size: tuple[int, int], codec: str) -> None:
    _, frames = shown(make_clip("a.avi", video=codec, size=size, audio=None, seconds=0.2))
    assert frames[0].image.shape == (size[1], size[0], 3)
    assert frames[0].image.flags.c_contiguous


def test_large_frames_are_scaled_down_in_proportion(make_clip: Maker) -> None:
    media, frames = shown(make_clip("a.mp4", size=(320, 180), audio=None, seconds=0.2), max_side=160)
    assert frames[0].image.shape == (90, 160, 3)
    assert (media.info.width, media.info.height) == (320, 180)


def test_black_stays_black_and_white_stays_white(make_clip: Maker) -> None:
    _, frames = shown(make_clip("a.mp4", event=0.2, audio=None, seconds=0.4))
    white = next(f.image for f in frames if f.image.mean() > 200)
    assert white.min() >= 250
    assert frames[0].image[:20, 60:].max() <= 5
