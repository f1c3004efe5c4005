"""What is seen between lips that open: teeth, tongue and the dark. A portrait with a closed mouth does not have it."""

from __future__ import annotations

import numpy as np

from polymodal.data.ragged import Array
from polymodal.reply.face.motion import LOWER_INNER, UPPER_INNER

LEAST = 1.5
"""Pixels between the lips below which nothing is seen."""

BRIGHT = 205.0
"""Luminance of lit skin, at which teeth have the colour TEETH."""

DARK, THROAT, TONGUE, TEETH = (
    np.array(c, np.float32) for c in ((40, 15, 17), (88, 36, 38), (150, 74, 76), (226, 216, 202))
)

_CHEEKS = (50, 280, 205, 425, 101, 330)
_SHIFT = 4


def light_of(image: Array, points: Array) -> float:
    """Return how bright a face is lit, 1 for BRIGHT."""
    at = np.clip(np.round(points[list(_CHEEKS)]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    luminance = image[at[:, 1], at[:, 0]].astype(float) @ (0.299, 0.587, 0.114)
    return float(np.clip(luminance.mean() / BRIGHT, 0.3, 1.05))


def lips_of(points: Array) -> Array:
    """Return the inner edge of the lips, a closed line; the lower one is never above the upper one."""
    upper, lower = points[list(UPPER_INNER)], points[list(LOWER_INNER)].copy()
    lower[:, 1] = np.maximum(lower[:, 1], upper[:, 1])
    return np.concatenate([upper, lower[::-1]])


def paint_mouth(picture: Array, points: Array, unit: float, light: float, jaw: float) -> Array:
    """Paint what is between the lips into ``picture`` and return it.

    Args:
        points: landmarks in the picture, pixels.
        unit: distance between the outer corners of the eyes, pixels.
        light: of the face, see ``light_of``.
        jaw: opening, 0 to 1.
    """
    import cv2

    gap = float(points[14, 1] - points[13, 1])
    if gap < LEAST:
        return picture
    lips = lips_of(points)
    low = np.maximum(np.floor(lips.min(0)).astype(int) - 6, 0)
    high = np.minimum(np.ceil(lips.max(0)).astype(int) + 7, picture.shape[1::-1])
    part = picture[low[1] : high[1], low[0] : high[0]]
    x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    left, right = lips[:, 0].min(), lips[:, 0].max()

    def filled(outline: Array) -> Array:
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round((outline - low) * 2**_SHIFT).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
        return np.asarray(mask, np.float32) / 255

    down = np.clip((y - points[13, 1]) / gap, 0, 1)[..., None]
    inside = (1 - down) * DARK + down * THROAT
    if jaw > 0.25:
        away = ((x - (left + right) / 2) / (0.3 * (right - left))) ** 2 + ((y - points[14, 1]) / (0.3 * gap)) ** 2
        tongue = 0.6 * np.clip(1.4 - away, 0, 1)[..., None]
        inside = (1 - tongue) * inside + tongue * TONGUE
    edge = points[list(UPPER_INNER)]
    height = np.array([0.0, min(0.4 * gap, 0.05 * unit)])
    strip = filled(np.concatenate([edge, edge[::-1] + height]))
    fall = np.clip(1 - np.abs(2 * (x - left) / max(right - left, 1) - 1) ** 2, 0, 1)
    white = (strip * (0.15 + 0.65 * fall) * min(1.0, gap / (0.06 * unit)))[..., None]
    inside = light * ((1 - white) * inside + white * TEETH)
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(0.9, 0.007 * unit))
    mask = cv2.GaussianBlur(filled(lips), (0, 0), max(0.7, 0.005 * unit))[..., None]
    part[:] = np.clip((1 - mask) * part + mask * soft, 0, 255).astype(np.uint8)
    return picture
