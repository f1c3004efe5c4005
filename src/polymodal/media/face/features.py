"""The feature vector of a face: blendshapes, pose of the head, distances between landmarks."""

from __future__ import annotations

from typing import Any

import numpy as np

from polymodal.data.ragged import Array
from polymodal.media.face.subject import Box

# MediaPipe's names without "_neutral", which is 0 in every face. Left and right are the person's own.
BLENDSHAPES = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
)

POSE = ("head_yaw", "head_pitch", "head_roll", "head_x", "head_y", "head_z")

# Pairs of landmarks of MediaPipe's face mesh.
DISTANCES = {
    "mouth_width": (61, 291),
    "mouth_opening": (13, 14),
    "lip_height": (0, 17),
    "jaw_opening": (2, 152),
    "brow_gap": (107, 336),
    "eye_opening_left": (386, 374),
    "eye_opening_right": (159, 145),
    "brow_inner_left": (336, 362),
    "brow_inner_right": (107, 133),
    "brow_outer_left": (300, 263),
    "brow_outer_right": (70, 33),
    "mouth_corner_left": (291, 263),
    "mouth_corner_right": (61, 33),
}
OUTER_EYE_CORNERS = (33, 263)
OUTLINE = (
    *(10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148),
    *(152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356, 389, 251, 284, 332, 297, 338),
)

NAMES = (*BLENDSHAPES, *POSE, *DISTANCES, "tracked")
"""Channels of the feature vector.

Blendshapes: MediaPipe's 51, in [0, 1]. Pose: yaw, pitch, roll in radians, positive where the face turns to the
picture's right, looks up, and tilts counter-clockwise as seen; x, y, z in metres from the camera (right, up, towards
the viewer), for a face of average size filmed with 63 degrees from top to bottom. Distances between landmarks, in
units of the distance between the outer corners of the eyes. ``tracked``: 1 for a face, 0 for none, when all else is 0.
"""

_PAIRS: Array = np.array([OUTER_EYE_CORNERS, *DISTANCES.values()])


def describe(landmarks: Any, blendshapes: Any, matrix: Array, size: tuple[int, int]) -> Array:
    """Return the feature vector (len(NAMES),) float32 of a face.

    Args:
        landmarks: 478 points with x, y, z in shares of the picture (z in shares of its width).
        blendshapes: categories with a name and a score.
        matrix: (4, 4), from the canonical face (centimetres) to camera space.
        size: width and height of the picture in pixels.
    """
    scores = {c.category_name: c.score for c in blendshapes}
    width, height = size
    points = [(landmarks[i].x, landmarks[i].y, landmarks[i].z) for i in _PAIRS.ravel()]
    ends = (np.array(points) * (width, height, width)).reshape(-1, 2, 3)
    # In three dimensions, so that a face that turns away does not seem to narrow its mouth.
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    distances = lengths[1:] / max(lengths[0], 1e-6)
    return np.array([*(scores[n] for n in BLENDSHAPES), *_pose(matrix), *distances, 1.0], np.float32)


def _pose(matrix: Array) -> tuple[float, ...]:
    """Return yaw, pitch, roll of the rotation Ry(yaw) Rx(-pitch) Rz(roll), and the translation in metres."""
    yaw = np.arctan2(matrix[0, 2], matrix[2, 2])
    pitch = np.arcsin(np.clip(matrix[1, 2], -1, 1))
    roll = np.arctan2(matrix[1, 0], matrix[1, 1])
    return (yaw, pitch, roll, *(matrix[:3, 3] / 100))


def outline(landmarks: Any) -> Box:
    """Return the box around a face's outline."""
    xs, ys = [landmarks[i].x for i in OUTLINE], [landmarks[i].y for i in OUTLINE]
    return Box(min(xs), min(ys), max(xs), max(ys))
