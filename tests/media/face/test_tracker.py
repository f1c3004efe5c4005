from __future__ import annotations

import importlib.metadata
import math
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.data.ragged import Array
from polymodal.media.face import tracker as face
from polymodal.media.face.crops import PLACES, SHAPE, places
from polymodal.media.face.features import BLENDSHAPES, DISTANCES, NAMES
from polymodal.media.face.tracker import FaceReading, FaceTracker
from polymodal.media.types import Frame

av = pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("mediapipe")

GRID = "data/grid_av_speech"


def decode(path: Path) -> list[Frame]:
    with av.open(str(path)) as container:
        return [Frame(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models" / "face_landmarker.task"


@pytest.fixture(scope="module")
def grid(shared: Path) -> dict[Path, list[Frame]]:
    """All clips, by file."""
    return {path: decode(path) for path in sorted((shared / GRID).glob("clips_*/*.mpg"))}


@pytest.fixture(scope="module")
def frames(grid: dict[Path, list[Frame]]) -> list[Frame]:
    """A man's clip."""
    return next(clip for path, clip in grid.items() if path.stem == "bbaf2n")


@pytest.fixture(scope="module")
def woman(grid: dict[Path, list[Frame]]) -> list[Frame]:
    return next(clip for path, clip in grid.items() if path.stem == "brbk7n")


@pytest.fixture(scope="module")
def readings(grid: dict[Path, list[Frame]], model: Path) -> dict[Path, list[FaceReading]]:
    """What is found in the clips whose word times are known."""
    return {path: track(model, clip) for path, clip in grid.items() if path.with_suffix(".align").exists()}


def track(model: Path, frames: Iterable[Frame]) -> list[FaceReading]:
    with FaceTracker(model) as tracker:
        return [tracker.push(frame) for frame in frames]


def values(readings: list[FaceReading]) -> Array:
    return np.stack([r.values for r in readings])


def channel(readings: list[FaceReading], *names: str) -> Array:
    return values(readings)[:, [NAMES.index(n) for n in names]]


def beside(left: Array, right: Array, scale: float, height: int = 360) -> Array:
    """Two pictures beside each other, the right one scaled, on a black ground 720 pixels wide."""
    ground = np.zeros((height, 720, 3), np.uint8)
    right = cv2.resize(right, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ground[: left.shape[0], : left.shape[1]] = left
    ground[: right.shape[0], 360 : 360 + right.shape[1]] = right[:height, :360]
    return ground


def side(readings: list[FaceReading]) -> Array:
    """Sign of the subject's place: -1 left of the middle, 1 right, 0 without a subject."""
    return np.sign(channel(readings, "head_x")[:, 0])


def assert_tracked_alone(clip: list[FaceReading]) -> None:
    assert np.mean([r.tracked for r in clip]) >= 0.95
    assert {r.others for r in clip} == {0}


def test_a_face_is_tracked_in_nearly_all_frames(readings: dict[Path, list[FaceReading]]) -> None:
    assert len(readings) == 5
    for clip in readings.values():
        assert_tracked_alone(clip)


@pytest.mark.slow
def test_a_face_is_tracked_in_nearly_all_frames_of_six_other_people(
    grid: dict[Path, list[Frame]], readings: dict[Path, list[FaceReading]], model: Path
) -> None:
    others = [clip for path, clip in grid.items() if path not in readings]
    assert len(others) == 6
    for clip in others:
        assert_tracked_alone(track(model, clip))


def test_readings_have_the_promised_form(readings: dict[Path, list[FaceReading]], frames: list[Frame]) -> None:
    clip = next(c for p, c in readings.items() if p.stem == "bbaf2n")
    assert [r.time for r in clip] == [f.time for f in frames]
    assert values(clip).shape == (75, FaceTracker.width) == (75, len(NAMES))
    assert values(clip).dtype == np.float32
    assert np.isfinite(values(clip)).all()
    assert (values(clip)[:, -1] == 1).all()
    shapes = channel(clip, *BLENDSHAPES)
    assert shapes.min() >= 0
    assert shapes.max() <= 1
    assert len(set(NAMES)) == len(NAMES) == 51 + 6 + 13 + 1


def test_mouths_open_and_move_when_people_speak(readings: dict[Path, list[FaceReading]]) -> None:
    silent, speaking = [], []
    for path, clip in readings.items():
        lines = [line.split() for line in path.with_suffix(".align").read_text().splitlines()]
        words = [(int(start) / 25_000, int(end) / 25_000) for start, end, word in lines if word != "sil"]
        times = np.array([r.time for r in clip])
        mouth = channel(clip, "jawOpen", "mouth_opening")
        silent.append(mouth[times < words[0][0] - 0.2])  # lips part before the voice sets in
        speaking.append(mouth[(times >= words[0][0]) & (times < words[-1][1])])
    opened = np.mean([m.mean(0) for m in speaking], 0) / np.mean([m.mean(0) for m in silent], 0)
    moved = np.mean([np.diff(m, axis=0).std(0) for m in speaking], 0)
    moved /= np.mean([np.diff(m, axis=0).std(0) for m in silent], 0)
    assert (opened > 1.2).all()
    assert (moved > 1.5).all()


def test_blinks_close_the_same_eye_in_blendshapes_and_distances(readings: dict[Path, list[FaceReading]]) -> None:
    all_clips = np.concatenate([values(clip) for clip in readings.values()])
    for which in ("Left", "Right"):
        blink = all_clips[:, NAMES.index(f"eyeBlink{which}")]
        opening = all_clips[:, NAMES.index(f"eye_opening_{which.lower()}")]
        assert np.corrcoef(blink, opening)[0, 1] < -0.8


def test_distances_do_not_depend_on_the_size_of_the_picture(
    readings: dict[Path, list[FaceReading]], frames: list[Frame], model: Path
) -> None:
    clip = next(c for p, c in readings.items() if p.stem == "bbaf2n")[:40]
    large = track(model, [Frame(f.time, cv2.resize(f.image, None, fx=1.5, fy=1.5)) for f in frames[:40]])
    difference = np.abs(channel(large, *DISTANCES) - channel(clip, *DISTANCES))
    assert difference.mean() < 0.01
    assert np.abs(channel(large, "head_yaw", "head_z") - channel(clip, "head_yaw", "head_z")).mean() < 0.02


def test_a_mirror_turns_the_head_and_swaps_left_and_right(
    readings: dict[Path, list[FaceReading]], grid: dict[Path, list[Frame]], model: Path
) -> None:
    path = next(p for p in grid if p.stem == "bbaz6p")
    clip, mirrored = readings[path], track(model, [Frame(f.time, f.image[:, ::-1]) for f in grid[path]])
    yaw, mirrored_yaw = channel(clip, "head_yaw"), channel(mirrored, "head_yaw")
    assert yaw.mean() > 0.1  # he looks to the picture's right
    assert abs(mirrored_yaw.mean() + yaw.mean()) < 0.05
    sided = [n for n in NAMES if n.endswith(("Left", "Right", "_left", "_right"))]
    swapped = [
        n.replace("Left", "*").replace("Right", "Left").replace("*", "Right")
        if n[-1] == "t" and n[0].islower() and "_" not in n
        else n.replace("_left", "*").replace("_right", "_left").replace("*", "_right")
        for n in sided
    ]
    straight = np.abs(channel(mirrored, *sided) - channel(clip, *sided)).mean()
    crossed = np.abs(channel(mirrored, *swapped) - channel(clip, *sided)).mean()
    assert crossed < 0.05
    assert crossed < 0.7 * straight


def test_a_head_tilted_counter_clockwise_has_positive_roll(frames: list[Frame], model: Path) -> None:
    turn = cv2.getRotationMatrix2D((180, 160), 20, 1)  # OpenCV's positive angles are counter-clockwise
    tilted = [Frame(f.time, cv2.warpAffine(f.image, turn, (360, 288))) for f in frames[:5]]
    change = channel(track(model, tilted), "head_roll") - channel(track(model, frames[:5]), "head_roll")
    assert change.mean() == pytest.approx(math.radians(20), abs=0.06)


def test_the_larger_of_two_people_is_the_subject(frames: list[Frame], woman: list[Frame], model: Path) -> None:
    pairs = [(w, m) for w, m in zip(woman, frames, strict=True)][:50]
    small = track(model, [Frame(w.time, beside(w.image, m.image, 0.75)) for w, m in pairs])
    assert (side(small) == -1).mean() >= 0.95
    large = track(model, [Frame(w.time, beside(w.image, m.image, 1.1)) for w, m in pairs])
    assert (side(large) == 1).mean() >= 0.95
    for clip in (small, large):
        assert np.mean([r.others == 1 for r in clip]) > 0.9


def test_the_subject_stays_while_another_face_grows_and_shrinks_a_little(
    frames: list[Frame], woman: list[Frame], model: Path
) -> None:
    scales = 0.95 + 0.2 * np.sin(np.arange(75) / 5)  # from smaller to larger than she, several times
    clip = [Frame(w.time, beside(w.image, m.image, s)) for w, m, s in zip(woman, frames, scales, strict=True)]
    assert set(side(track(model, clip))) == {-1}


def test_when_the_subject_leaves_the_other_follows_after_half_a_second(
    frames: list[Frame], woman: list[Frame], model: Path
) -> None:
    clip = [
        Frame(w.time, beside(w.image if i < 10 else np.zeros_like(w.image), m.image, 0.8))
        for i, (w, m) in enumerate(zip(woman, frames, strict=True))
    ]
    found = side(track(model, clip[:40]))
    assert set(found[:10]) == {-1}
    assert set(found[10:21]) == {0}
    assert set(found[26:]) == {1}


def test_two_trackers_agree_to_the_bit_and_share_nothing(frames: list[Frame], woman: list[Frame], model: Path) -> None:
    with FaceTracker(model) as first, FaceTracker(model) as second:
        one, two = [], []
        for i in range(20):
            one.append(first.push(frames[i]))
            first_of_woman = second.push(woman[i])
            assert first_of_woman.tracked
    two = track(model, frames[:20])
    assert values(one).tobytes() == values(two).tobytes()


def test_rows_with_gaps_between_them_are_read_as_a_picture(frames: list[Frame], model: Path) -> None:
    """MediaPipe ignores strides: a view whose rows do not follow each other would be skewed, and show no face."""
    gaps = np.zeros((288, 368, 3), np.uint8)[:, :360]
    gaps[:] = frames[0].image
    assert not gaps.flags.c_contiguous
    plain = values(track(model, [Frame(0.0, np.ascontiguousarray(frames[0].image))]))
    assert plain[0, -1] == 1
    assert values(track(model, [Frame(0.0, gaps)])).tobytes() == plain.tobytes()
    assert values(track(model, [Frame(0.0, gaps[:, ::-1][:, ::-1])])).tobytes() == plain.tobytes()


@pytest.mark.parametrize("width", [352, 357, 361, 362, 363])
def test_any_width_will_do(frames: list[Frame], model: Path, width: int) -> None:
    assert track(model, [Frame(0.0, cv2.resize(frames[0].image, (width, 288)))])[0].tracked


def test_without_a_face_all_is_zero(model: Path) -> None:
    grey = np.full((288, 360, 3), 128, np.uint8)
    shapes = [np.zeros_like(grey), grey, grey[:16, :16], grey[:1, :1], grey[:1], grey[:, :1]]
    for reading in track(model, [Frame(i / 25, image) for i, image in enumerate(shapes)]):
        assert not reading.tracked
        assert not reading.values.any()
        assert reading.values.shape == (FaceTracker.width,)


def test_times_that_stand_still_go_back_or_leap_do_no_harm(frames: list[Frame], model: Path) -> None:
    times = [5.0, 5.0, 5.0, 4.0, 4.04, 1e12, -1e12, 0.0, 0.0001, 3600.0]
    found = track(model, [Frame(t, f.image) for t, f in zip(times, frames, strict=False)])
    assert all(r.tracked for r in found)
    assert [r.time for r in found] == times


def test_one_frame_a_second_is_enough_to_know_somebody(frames: list[Frame], woman: list[Frame], model: Path) -> None:
    clip = [Frame(float(i), beside(woman[i].image, frames[i].image, 0.85 + 0.3 * (i % 2))) for i in range(12)]
    assert set(side(track(model, clip))) == {-1}


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((288, 360), np.uint8),
        np.zeros((288, 360, 4), np.uint8),
        np.zeros((288, 360, 3), np.float32),
        np.zeros((0, 360, 3), np.uint8),
        [[0]],
    ],
    ids=["grey", "four channels", "floats", "empty", "list"],
)
def test_what_is_no_picture_is_refused(model: Path, image: Array) -> None:
    with FaceTracker(model) as tracker, pytest.raises(DataError, match=r"the frame at 1\.5 s is"):
        tracker.push(Frame(1.5, image))


def test_a_frame_without_a_time_is_refused(model: Path) -> None:
    with FaceTracker(model) as tracker, pytest.raises(DataError, match="a frame has the time nan"):
        tracker.push(Frame(math.nan, np.zeros((16, 16, 3), np.uint8)))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fake.task").write_bytes(b"no model")
    for path in (tmp_path / "fake.task", tmp_path / "gone.task"):
        with pytest.raises(DataError, match=f"{path.name} is no model of MediaPipe's face landmarker"):
            FaceTracker(path)


def test_the_version_names_mediapipe_the_model_and_the_code(model: Path) -> None:
    package = importlib.metadata.version("mediapipe")
    assert face.version(model) == f"mediapipe {package}, face_landmarker 64184e22, polymodal face {face.CODE}"


def test_a_missing_mediapipe_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(OptionError, match=r"pip install 'polymodal\[media\]'"):
        FaceTracker(model)


def test_native_code_prints_nothing(
    frames: list[Frame], model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    track(model, frames[:2])
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(face, "without_lines", lambda noise: nullcontext())
    track(model, frames[:2])
    assert "W0000" in capfd.readouterr().err  # else there is nothing to silence any more


def test_a_turned_picture_gives_the_same_crops_and_nobody_gives_none(frames: list[Frame], model: Path) -> None:
    height, width = frames[0].image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1.0)
    upright = frames[:50:5]
    turned = [Frame(f.time, cv2.warpAffine(f.image, turn, (width, height))) for f in upright]
    nobody = [Frame(f.time, np.full_like(f.image, 90)) for f in upright]
    found = []
    for clip in (upright, turned, nobody):
        with FaceTracker(model, features=False, crops=True) as tracker:
            found.append([tracker.push(frame) for frame in clip])
    assert [(r.tracked, r.values, r.crop) for r in found[2]] == [(False, None, None)] * 10
    for one, other in zip(*found[:2], strict=True):
        assert one.crop is not None
        assert other.crop is not None
        assert (one.crop.shape, one.crop.dtype) == (SHAPE, np.uint8)
        face = (slice(None), slice(25, 100), slice(25, 90))  # around it the turned picture has black corners
        assert np.corrcoef(one.crop[face].ravel(), other.crop[face].ravel())[0, 1] > 0.95


def test_a_crop_has_its_landmarks_where_all_crops_have_them(frames: list[Frame], model: Path) -> None:
    with FaceTracker(model, features=False, crops=True) as tracker:
        crop = tracker.push(frames[20]).crop
        assert crop is not None
        larger = cv2.resize(np.pad(crop.transpose(1, 2, 0), ((60, 60), (60, 60), (0, 0))), None, fx=2, fy=2)
        (face,) = tracker._all.detect(tracker._picture(larger)).face_landmarks
    assert np.abs(places(face, larger.shape[1::-1]) / 2 - 60 - PLACES).max() < 4
