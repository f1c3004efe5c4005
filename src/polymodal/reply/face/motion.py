"""Where the landmarks of a portrait go: for the mouth, the lids, the brows and the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polymodal.data.ragged import Array
from polymodal.reply.face.sounds import OPEN, PRESS, ROUND, TUCK, WIDE

UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
# From the outer edge of each lip to its inner one, without the corners.
_UPPER_LIP = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407, *UPPER_INNER[1:-1]),
)
_LOWER_LIP = (
    *(146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325, *LOWER_INNER[1:-1]),
)
_CORNERS = (61, 76, 62, 78, 291, 306, 292, 308)
# Of each eye: upper lid and the lower lid below it; the fold above; then the two ends of the brow.
_LIDS = (
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155), (247, 30, 29, 27, 28, 56, 190)),
    ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382), (467, 260, 259, 257, 258, 286, 414)),
)
_BROWS = (((70, 46), (107, 55)), ((300, 276), (336, 285)))

JAW, SPREADING, ROUNDING, SMILE, BROW = 0.2, 0.055, 0.1, 0.105, 0.095
"""Largest movements, in distances between the outer corners of the eyes."""


@dataclass(frozen=True)
class Pose:
    """What a face does in a frame.

    Attributes:
        mouth: (5,), see ``sounds``.
        smile, brow_inner, brow_outer: as in ``Manner``.
        lids: opening of the eyes, 0 closed, 1 as in the portrait.
        tilt: of the head, degrees.
        shift: (2,) of the head, in distances between the outer corners of the eyes.
    """

    mouth: Array
    smile: float = 0.0
    brow_inner: float = 0.0
    brow_outer: float = 0.0
    lids: float = 1.0
    tilt: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)


class Mover:
    """Moves the landmarks of one face.

    Args:
        points: (468, 2) pixels, as in the portrait.
    """

    def __init__(self, points: Array) -> None:
        self.points = points
        across = points[263] - points[33]
        self.unit = float(np.linalg.norm(across))
        x = across / self.unit
        self._axes = np.stack([x, np.array([-x[1], x[0]])])  # right and down, as seen
        self._middle = (points[61] + points[291]) / 2
        self._at = (points - self._middle) @ self._axes.T / self.unit
        self._half = float(np.ptp(self._at[[61, 291], 0])) / 2
        self._regions()

    def _regions(self) -> None:
        u, v = self._at.T
        arch = np.clip(1 - (u / self._half) ** 2, 0, 1) ** 0.6
        lower, upper = np.zeros(len(u)), np.zeros(len(u))
        below = v > 0
        down = np.clip(v / 0.3, 0, 1) ** 2 * (3 - 2 * np.clip(v / 0.3, 0, 1))
        lower[below] = ((1 - down) * arch + down * np.exp(-((u / 0.55) ** 2)))[below]
        lips = np.array([*_UPPER_LIP, *_LOWER_LIP, *_CORNERS])
        lower[lips] = 0
        lower[list(_LOWER_LIP)] = arch[list(_LOWER_LIP)]
        upper[list(_UPPER_LIP)] = arch[list(_UPPER_LIP)]
        self._lower, self._upper = lower, upper
        is_lip = np.zeros(len(u), bool)
        is_lip[lips] = True
        near = np.exp(-((np.maximum(np.abs(u) - self._half, 0) / 0.16) ** 2) - (v / 0.22) ** 2)
        self._sideways = np.where(is_lip, 1.0, near) * np.clip(u / self._half, -1.3, 1.3)
        corners = [(self._at[61], -1.0), (self._at[291], 1.0)]
        pull = [np.exp(-((self._at - at) ** 2).sum(1) / (2 * 0.15**2)) for at, _ in corners]
        self._corner = np.where(is_lip, np.clip(np.abs(u) / self._half, 0, 1) ** 2, pull[0] + pull[1])
        self._side = np.sign(u)
        self._gap = self._closing()
        self._brow = [self._brow_weights(0), self._brow_weights(1)]

    def _closing(self) -> Array:
        """Return the way down, per landmark, that closes lips which are apart in the portrait."""
        gaps = self._at[list(LOWER_INNER), 1] - self._at[list(UPPER_INNER), 1]
        gap = float(max(0.0, np.median(gaps[3:-3])))
        return (self._upper - self._lower) * gap / 2

    def _brow_weights(self, end: int) -> Array:
        """Return how much each landmark goes with the outer (0) or inner (1) ends of the brows."""
        ends = [self._at[list(brow[end])].mean(0) for brow in _BROWS]
        weight = np.max([np.exp(-((self._at - at) ** 2).sum(1) / (2 * 0.13**2)) for at in ends], axis=0)
        lid = float(self._at[[k for upper, _, _ in _LIDS for k in upper], 1].mean())
        brow = float(np.mean([self._at[list(e), 1].mean() for pair in _BROWS for e in pair]))
        weight *= np.clip((lid - self._at[:, 1]) / (lid - brow), 0, 1)  # lids stay, what is between goes half the way
        return np.asarray(weight)

    def opened(self) -> Array:
        """Return the landmarks with an open mouth: where each triangle is on its own side of the lips."""
        return self._moved(np.stack([np.zeros(len(self._at)), 0.12 * self._lower - 0.03 * self._upper], axis=1))

    def move(self, pose: Pose) -> Array:
        """Return (468, 2) where the landmarks are in ``pose``, pixels."""
        mouth, way = pose.mouth, np.zeros_like(self._at)
        way[:, 1] += self._gap
        jaw = JAW * mouth[OPEN]
        way[:, 1] += jaw * (self._lower - 0.12 * self._upper)
        way[:, 1] += 0.012 * mouth[ROUND] * (self._lower - self._upper)
        way[:, 1] -= 0.006 * mouth[PRESS] * (self._lower - self._upper) + 0.022 * mouth[TUCK] * self._lower
        way[:, 0] += (SPREADING * mouth[WIDE] - ROUNDING * mouth[ROUND]) * self._sideways
        way[:, 0] += 0.6 * SMILE * pose.smile * self._corner * self._side * (pose.smile > 0)
        way[:, 1] -= SMILE * pose.smile * self._corner * (1.0 if pose.smile > 0 else 0.6)
        way[:, 1] -= BROW * (pose.brow_outer * self._brow[0] + pose.brow_inner * self._brow[1])
        way[:, 0] -= 0.25 * BROW * min(pose.brow_inner, 0.0) * -self._brow[1] * self._side
        self._close_lids(way, pose.lids)
        return self._moved(way, pose.tilt, pose.shift)

    def _close_lids(self, way: Array, lids: float) -> None:
        for upper, lower, fold in _LIDS:
            gap = self._at[list(lower)] - self._at[list(upper)]
            closed = 1 - lids
            way[list(upper)] += gap * closed
            way[list(fold)] += gap * (0.5 * closed)

    def _moved(self, way: Array, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> Array:
        at = self._at + way
        if tilt or any(shift):
            turn = np.deg2rad(tilt)
            neck = np.array([0.0, 0.9])
            turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            at = (at - neck) @ turned.T + neck + shift
        return np.asarray(at @ self._axes * self.unit + self._middle)
