"""A face cut out of a picture: upright, of one size, its eyes, nose and mouth always at the same places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from polymodal.data.ragged import Array

SIZE = 112
SHAPE = (3, SIZE, SIZE)
"""Channels, height and width of a crop in a corpus."""

PLACES: Array = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where a crop has its left eye, right eye, tip of the nose, left and right corner of the mouth, as seen: (x, y) in
pixels, those of ArcFace (Deng et al. 2019), which most networks for faces were trained on."""

_POINTS = ((33, 133), (362, 263), (1,), (61,), (291,))
"""Landmarks of MediaPipe's face mesh whose mean is each of these places; of an eye its corners, which do not follow
its gaze."""


def places(landmarks: Any, size: tuple[int, int]) -> Array:
    """Return where a face has what ``PLACES`` names, (5, 2) in pixels.

    Args:
        landmarks: of MediaPipe, in shares of the picture.
        size: width and height of the picture.
    """
    means = [np.mean([(landmarks[i].x, landmarks[i].y) for i in group], axis=0) for group in _POINTS]
    return np.array(means) * size - 0.5  # MediaPipe counts from the edge of the first pixel, we from its middle


def cut_face(image: Array, points: Array) -> Array:
    """Return the face as (SIZE, SIZE, 3) uint8 RGB; black where it reaches beyond the picture.

    It is turned, scaled and moved, never sheared or mirrored, so that its points come as near to ``PLACES`` as the sum
    of squares can be. All five decide, not the eyes alone: the eyes of a head that turns away draw together, and its
    crop would grow. A face larger than the crop is averaged, not sampled.

    Args:
        image: (height, width, 3) uint8 RGB.
        points: (5, 2), see ``places``.
    """
    import cv2

    turn, shift = _similarity(points)
    # Pixels cut per pixel shown and side; a scale of 1 must not become 2 by a rounding error.
    fine = max(1, math.ceil(1 / abs(turn) - 0.01))
    turn, shift = fine * turn, fine * (shift + 0.5 * (1 + 1j)) - 0.5 * (1 + 1j)
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    large = cv2.warpAffine(image, matrix, (fine * SIZE, fine * SIZE), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def _similarity(points: Array) -> tuple[complex, complex]:
    """Return ``a`` and ``b`` of the map ``a z + b`` of points (x + iy) that brings them nearest to ``PLACES``."""
    here, there = (p[:, 0] + 1j * p[:, 1] for p in (points, PLACES))
    centred = here - here.mean()
    turn = complex(np.vdot(centred, there) / max(np.vdot(centred, centred).real, 1.0))
    return turn, complex(there.mean() - turn * here.mean())
