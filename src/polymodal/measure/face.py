"""What is seen: smile, brows, gaze, head and blinks of the face that media follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.data.ragged import Array
from polymodal.measure.grid import Span, rows_in, runs, sampled, smoothed
from polymodal.media.face.features import NAMES

STEP = 0.04
"""Seconds between two rows of a face, whatever the frame rate of the clip."""

CHANNELS = (
    *("smile", "brow_raise", "brow_lower", "gaze_left", "gaze_up", "mouth", "eyes_closed"),
    *("head_yaw", "head_pitch", "head_roll", "head_speed"),
)
"""Blendshapes from 0 to 1, gaze from -1 to 1, the head in degrees and degrees per second; NaN without a face."""

SMILING = 0.4
"""Smile from which a frame counts as smiling."""

BLINK, CLOSED = 0.25, 0.5
"""How far ``eyes_closed`` must rise and fall again in a blink, and the seconds that it may last at most."""

NOD, TURN = 3.0, 1.0
"""Degrees by which a nodding head goes down and comes up again, and the seconds that each may take."""

STEADY = 5
"""Rows, a fifth of a second, over which the pose is averaged: the tracker trembles by about a tenth of a degree."""

SHORTEST = 2.0
"""Seconds with a face without which nothing is counted per minute."""

BLINK_RATE, NOD_RATE = 12.0, 6.0
"""Frames per second below which blinks and nods would be missed, and are not told."""


@dataclass(frozen=True)
class Face:
    """The face of a clip over time.

    Attributes:
        series: (n, len(CHANNELS)) float32 every ``STEP`` seconds; NaN where no face was seen.
        blinks, nods: seconds of each; None where there are too few frames per second to see them.
    """

    series: Array
    blinks: Array | None
    nods: Array | None


def reduced(values: Array) -> Array:
    """Return the channels without ``head_speed``, (n, 10) float32, of media's face features (n, len(NAMES))."""

    def mean(*names: str) -> Array:
        return np.asarray(values[:, [NAMES.index(name) for name in names]].mean(axis=1))

    left = mean("eyeLookOutLeft", "eyeLookInRight") - mean("eyeLookInLeft", "eyeLookOutRight")
    up = mean("eyeLookUpLeft", "eyeLookUpRight") - mean("eyeLookDownLeft", "eyeLookDownRight")
    columns = [
        mean("mouthSmileLeft", "mouthSmileRight"),
        mean("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
        mean("browDownLeft", "browDownRight"),
        *(left, up, mean("jawOpen"), mean("eyeBlinkLeft", "eyeBlinkRight")),
        *(np.degrees(mean(name)) for name in ("head_yaw", "head_pitch", "head_roll")),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def describe_face(times: Array, values: Array, duration: float) -> Face:
    """Return the face of a clip.

    Args:
        times: (n,) seconds of the frames with a face, ascending.
        values: (n, 10), see ``reduced``.
        duration: seconds of the clip.
    """
    length = max(1, round(duration / STEP))
    usual = float(np.median(np.diff(times))) if len(times) > 1 else STEP
    table = dict(zip(CHANNELS, sampled(times, values, STEP, length, min(1.0, max(0.2, 2.5 * usual))).T, strict=False))
    speed = np.full(length, np.nan, np.float32)
    steady = {name: table[name].copy() for name in ("head_yaw", "head_pitch", "head_roll")}
    blinks, nods = [], []
    for first, last in runs(np.isfinite(table["smile"])):
        for name, angle in steady.items():
            angle[first:last] = smoothed(table[name][first:last], STEADY)
        speed[first:last] = _speed(*(angle[first:last] for angle in steady.values()))
        blinks += [*(first + _peaks(table["eyes_closed"][first:last], BLINK, 1.0, CLOSED))]
        nods += [*(first + _peaks(-steady["head_pitch"][first:last], NOD, 2 * TURN, TURN))]
    return Face(
        np.stack([*table.values(), speed], axis=1),
        np.array(blinks) * STEP if usual <= 1 / BLINK_RATE + 1e-3 else None,
        np.array(nods) * STEP if usual <= 1 / NOD_RATE + 1e-3 else None,
    )


def _speed(yaw: Array, pitch: Array, roll: Array) -> Array:
    """Return degrees per second of the rotation from one row to the next, (n,); the first as the second."""
    if len(yaw) < 2:
        return np.full(len(yaw), np.nan)
    from scipy.spatial.transform import Rotation

    pose = Rotation.from_euler("YXZ", np.stack([yaw, -pitch, roll], axis=1), degrees=True)
    turned = np.degrees((pose[:-1].inv() * pose[1:]).magnitude()) / STEP
    return np.concatenate([turned[:1], turned])


def _peaks(values: Array, height: float, window: float, longest: float) -> Array:
    """Return the rows at which ``values`` has risen by ``height`` and falls by it again within ``window`` seconds.

    Args:
        longest: seconds that a peak may be wide at half of its height.
    """
    from scipy.signal import find_peaks

    if len(values) < 3:
        return np.zeros(0)
    rows = 2 * round(window / STEP / 2) + 1
    found, _ = find_peaks(values, prominence=height, wlen=rows, width=(0, longest / STEP))
    return np.asarray(found, float)


def face_measures(face: Face, spans: Sequence[Span]) -> dict[str, float]:
    """Return the measures of the face in ``spans``; NaN, but for ``face_share``, where none is seen."""
    inside = rows_in(len(face.series), STEP, spans)
    rows = face.series[inside]
    seen = rows[np.isfinite(rows[:, 0])]
    column = dict(zip(CHANNELS, seen.T, strict=True))
    found = {"face_share": len(seen) / len(rows) if len(rows) else float("nan")}
    if not len(seen):
        return found
    found |= {name: float(np.mean(column[name])) for name in ("smile", "brow_raise", "brow_lower")}
    found["smile_share"] = float(np.mean(column["smile"] >= SMILING))
    found |= {name: float(np.median(c)) for name, c in column.items() if name.startswith("gaze") or name in POSE}
    speed = column["head_speed"][np.isfinite(column["head_speed"])]
    found["head_speed"] = float(np.mean(speed)) if len(speed) else float("nan")
    minutes = len(seen) * STEP / 60
    if 60 * minutes >= SHORTEST:
        for name, events in (("blink_rate", face.blinks), ("nod_rate", face.nods)):
            if events is not None:
                found[name] = sum(any(a <= t < b for a, b in spans) for t in events.tolist()) / minutes
    return found


POSE = ("head_yaw", "head_pitch", "head_roll")
