"""A picture bent so that the landmarks of its face go where they should: affine in each triangle of a mesh."""

from __future__ import annotations

import numpy as np

from polymodal.data.ragged import Array
from polymodal.media.face.features import OUTLINE
from polymodal.reply.face.motion import Mover, Pose
from polymodal.reply.face.mouth import light_of, lips_of, paint_mouth
from polymodal.reply.face.portrait import Portrait
from polymodal.reply.face.sounds import OPEN

RINGS = ((1.25, 0.8), (1.55, 0.45))
"""Rings of points around the face: how far out, and how much of the face's movement they follow."""

EDGE = 6
"""Points on each edge of the picture, which stay where they are."""

_SHIFT = 4
"""Bits behind the point of coordinates that OpenCV fills polygons by."""


class Bender:
    """Bends one portrait.

    Args:
        portrait: what is bent.
    """

    def __init__(self, portrait: Portrait) -> None:
        from scipy.spatial import Delaunay

        self._image = portrait.image
        self._mover = Mover(portrait.points)
        self._source = self._with_frame(portrait.points)
        opened = self._with_frame(self._mover.opened())
        triangles = Delaunay(opened).simplices
        inside = self._inside(opened[triangles].mean(1), opened)
        self._triangles = triangles[~inside]
        self._sign = np.sign(_areas(opened[self._triangles]))
        height, width = self._image.shape[:2]
        self._right, self._down = (a.astype(np.float32) for a in np.meshgrid(np.arange(width), np.arange(height)))
        self._light = light_of(portrait.image, portrait.points)

    def _with_frame(self, points: Array) -> Array:
        """Return the landmarks with the rings around them and the edges of the picture."""
        still = self._mover.points
        middle = still[list(OUTLINE)].mean(0)
        moved = points[list(OUTLINE)] - still[list(OUTLINE)]
        height, width = self._image.shape[:2]
        size = np.array([width - 1.0, height - 1.0])
        frame = []
        for out, share in RINGS:
            ring = middle + out * (still[list(OUTLINE)] - middle)
            kept = ((ring > 2) & (ring < size - 2)).all(1)
            frame.append((ring + share * moved)[kept])
        along = np.linspace(0, 1, EDGE)
        corners = [(t * size[0], s * size[1]) for t in along for s in along if {t, s} & {0.0, 1.0}]
        return np.concatenate([points, *frame, np.array(corners)])

    @staticmethod
    def _inside(at: Array, points: Array) -> Array:
        """Return which points lie between the lips."""
        from matplotlib.path import Path

        return Path(lips_of(points)).contains_points(at)

    def bend(self, pose: Pose) -> Array:
        """Return the portrait in ``pose``, (height, width, 3) uint8."""
        import cv2

        target = self._with_frame(self._mover.move(pose))
        corners = target[self._triangles]
        index = np.zeros(self._image.shape[:2], np.int32)
        # Those that are closed, or turned over by lids and lips that meet, would still paint their edges.
        shown = np.flatnonzero(_areas(corners) * self._sign > 0.5)
        for number, triangle in zip(shown, np.round(corners[shown] * 2**_SHIFT).astype(np.int32), strict=True):
            cv2.fillConvexPoly(index, triangle, int(number), shift=_SHIFT)
        x, y = (
            way[0].take(index) * self._right + way[1].take(index) * self._down + way[2].take(index)
            for way in _affine(corners, self._source[self._triangles])
        )
        bent = cv2.remap(self._image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        painted: Array = paint_mouth(bent, target, self._mover.unit, self._light, float(pose.mouth[OPEN]))
        return painted


def _affine(corners: Array, source: Array) -> Array:
    """Return maps (2, 3, triangles) float32 from each of ``corners`` (triangles, 3, 2) to ``source``."""
    square = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=2)
    flat = np.abs(np.linalg.det(square)) < 1e-3  # a triangle without an area has no pixel that matters
    square[flat] = np.eye(3)
    found = np.linalg.solve(square, source)
    return np.ascontiguousarray(found.transpose(2, 1, 0), np.float32)


def _areas(corners: Array) -> Array:
    """Return twice the signed area of triangles (n, 3, 2), square pixels."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
