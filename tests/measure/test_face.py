"""Measures of the face against planted series: blinks, nods, turns of the head, smiles, gaze."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from polymodal.measure.face import CHANNELS, describe_face, face_measures, reduced
from polymodal.media.face.features import NAMES

SECONDS = 20.0


def planted(fps: float = 25.0, **channels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return times and channels of a still face with noise; a channel may be an array or a function of time."""
    rng = np.random.default_rng(0)
    times = np.arange(round(SECONDS * fps)) / fps
    values = np.zeros((len(times), len(CHANNELS) - 1))
    values[:, CHANNELS.index("eyes_closed")] = 0.1
    values[:, [CHANNELS.index(n) for n in ("head_yaw", "head_pitch", "head_roll")]] = rng.normal(
        0, 0.1, (len(times), 3)
    )
    for name, what in channels.items():
        values[:, CHANNELS.index(name)] += what(times) if callable(what) else what
    return times, values


def bumps(at: list[float], height: float, width: float) -> Any:
    """Return a function of time with a smooth bump at each time, ``width`` seconds wide at half of its height."""
    return lambda t: sum(height * np.exp(-((t - one) ** 2) / (2 * (width / 2.355) ** 2)) for one in at)


def measured(times: np.ndarray, values: np.ndarray, *spans: tuple[float, float]) -> dict[str, float]:
    return face_measures(describe_face(times, values, SECONDS), spans or [(0.0, SECONDS)])


BLINKS = [1.0, 3.5, 4.2, 9.0, 12.3, 15.0, 18.5]


@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0, 60.0])
def test_blinks_are_counted_at_any_frame_rate(fps: float) -> None:
    times, values = planted(fps, eyes_closed=bumps(BLINKS, 0.6, 0.15))
    face = describe_face(times, values, SECONDS)
    assert face.blinks is not None
    assert face.blinks == pytest.approx(np.array(BLINKS), abs=0.08)
    assert measured(times, values)["blink_rate"] == pytest.approx(3 * len(BLINKS), rel=0.01)
    assert measured(times, values, (0.0, 5.0))["blink_rate"] == pytest.approx(12 * 3, rel=0.01)


def test_closed_eyes_and_trembling_lids_are_no_blinks() -> None:
    assert measured(*planted(eyes_closed=bumps([5.0, 12.0], 0.7, 1.5)))["blink_rate"] == pytest.approx(0.0)
    assert measured(*planted(eyes_closed=bumps(BLINKS, 0.15, 0.15)))["blink_rate"] == pytest.approx(0.0)


def test_blinks_and_nods_are_not_told_where_frames_are_too_few() -> None:
    slow = measured(*planted(5.0))
    assert "blink_rate" not in slow
    assert "nod_rate" not in slow
    assert {"nod_rate"} == {"nod_rate", "blink_rate"} & set(measured(*planted(8.0)))


def test_nods_go_down_and_up_again() -> None:
    at = [2.0, 3.0, 8.0, 8.7, 15.0]
    times, values = planted(head_pitch=bumps(at, -8.0, 0.35))
    assert measured(times, values)["nod_rate"] == pytest.approx(3 * len(at))
    lowered = planted(head_pitch=lambda t: np.where(t > 10, -12.0, 0.0))
    assert measured(*lowered)["nod_rate"] == pytest.approx(0.0)
    assert measured(*planted(head_yaw=bumps(at, -8.0, 0.35)))["nod_rate"] == pytest.approx(0.0)
    assert measured(*planted(head_pitch=bumps(at, -1.5, 0.35)))["nod_rate"] == pytest.approx(0.0)


@pytest.mark.parametrize("axis", ["head_yaw", "head_pitch", "head_roll"])
def test_the_speed_of_the_head_is_that_of_a_steady_turn(axis: str) -> None:
    found = measured(*planted(**{axis: lambda t: 3.0 * (t - 10)}))
    assert found["head_speed"] == pytest.approx(3.0, abs=0.5)
    still = measured(*planted())
    assert still["head_speed"] < 2.0  # what a tremble of a tenth of a degree leaves
    assert found[axis] == pytest.approx(0.0, abs=0.3)


def test_a_swinging_head_has_the_mean_speed_of_its_swing() -> None:
    swing = planted(head_yaw=lambda t: 10 * np.sin(2 * np.pi * 0.5 * t))
    assert measured(*swing)["head_speed"] == pytest.approx(4 * 10 * 0.5, rel=0.08)


def test_smiles_are_their_mean_and_their_share() -> None:
    times, values = planted(smile=lambda t: np.where((t >= 5) & (t < 10), 0.8, 0.1))
    found = measured(times, values)
    assert found["smile"] == pytest.approx(0.25 * 0.8 + 0.75 * 0.1, abs=0.01)
    assert found["smile_share"] == pytest.approx(0.25, abs=0.01)
    assert measured(times, values, (5.2, 9.8))["smile_share"] == pytest.approx(1.0)


def test_without_a_face_nothing_is_told_but_its_share() -> None:
    times, values = planted()
    seen = times < 5
    found = measured(times[seen], values[seen])
    assert found["face_share"] == pytest.approx(0.25, abs=0.01)
    assert set(measured(times[seen], values[seen], (10.0, 20.0))) == {"face_share"}
    assert measured(times[:0], values[:0]) == {"face_share": 0.0}


def test_a_blink_of_the_tracker_is_no_absence_and_a_second_is() -> None:
    times, values = planted()
    hole = (times > 3) & (times < 3.15)
    assert measured(times[~hole], values[~hole])["face_share"] == pytest.approx(1.0)
    gone = (times > 3) & (times < 4)
    assert measured(times[~gone], values[~gone])["face_share"] == pytest.approx(0.95, abs=0.01)


def test_rates_need_two_seconds_of_a_face() -> None:
    times, values = planted(eyes_closed=bumps([1.0], 0.6, 0.15))
    assert "blink_rate" not in measured(times, values, (0.0, 1.5))
    assert "blink_rate" in measured(times, values, (0.0, 2.5))


def test_channels_come_from_the_features_that_they_name() -> None:
    def face(**values: float) -> dict[str, float]:
        row = np.zeros((1, len(NAMES)))
        for name, value in values.items():
            row[0, NAMES.index(name)] = value
        return dict(zip(CHANNELS, reduced(row)[0].tolist(), strict=False))

    assert face(mouthSmileLeft=0.4, mouthSmileRight=0.8)["smile"] == pytest.approx(0.6)
    assert face(browInnerUp=0.3, browOuterUpLeft=0.3, browOuterUpRight=0.9)["brow_raise"] == pytest.approx(0.5)
    assert face(browDownLeft=0.2, browDownRight=0.4)["brow_lower"] == pytest.approx(0.3)
    # The left eye outwards and the right one inwards: to the person's left.
    assert face(eyeLookOutLeft=0.6, eyeLookInRight=0.4)["gaze_left"] == pytest.approx(0.5)
    assert face(eyeLookInLeft=0.6, eyeLookOutRight=0.4)["gaze_left"] == pytest.approx(-0.5)
    assert face(eyeLookDownLeft=0.6, eyeLookDownRight=0.4)["gaze_up"] == pytest.approx(-0.5)
    assert face(eyeBlinkLeft=0.9, eyeBlinkRight=0.5)["eyes_closed"] == pytest.approx(0.7)
    assert face(head_pitch=np.pi / 6)["head_pitch"] == pytest.approx(30.0, abs=1e-4)
