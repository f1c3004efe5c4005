"""Decoded video frames become upright RGB pictures with square pixels, at most so many per second."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from polymodal.data.ragged import Array

ASPECTS = (Fraction(1, 4), Fraction(4))
"""Widths of a pixel by its height that are believed."""


class Painter:
    """Converts frames; conversion and scaling are one step.

    Args:
        aspect: a pixel's width by its height as declared, None or 0 if unknown.
        side: longest side of a picture; larger frames are scaled down.
    """

    def __init__(self, aspect: Fraction | None, side: int) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        believed = aspect is not None and ASPECTS[0] <= aspect <= ASPECTS[1]
        self._aspect, self._side = (aspect if believed and aspect else Fraction(1)), side
        self._reformatter, self._area = VideoReformatter(), Interpolation.AREA  # area: fastest here, no aliasing

    def shown(self, frame: Any) -> tuple[int, int]:
        """Return width and height of a frame as shown: square pixels, upright, not scaled down."""
        width, height = self._square(frame)
        return (height, width) if _quarters(frame) % 2 else (width, height)

    def paint(self, frame: Any) -> Array:
        """Return (height, width, 3) uint8 RGB."""
        width, height = self._square(frame)
        scale = min(1.0, self._side / max(width, height))
        size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=self._area, threads=1, **size)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), _quarters(frame)))

    def _square(self, frame: Any) -> tuple[int, int]:
        return max(1, round(frame.width * self._aspect)), frame.height


def _quarters(frame: Any) -> int:
    """Return how many quarter turns counter-clockwise a player makes."""
    return round(frame.rotation / 90) % 4


class Picker:
    """Passes at most ``fps`` frames per second, none twice; all that move on in time if ``fps`` is None.

    After a frame the next one is due 1/fps later; it passes up to 0.25/fps early, so that neither rounded times nor
    sources at a multiple of ``fps`` lose or win frames. What was early or late by less than 1/fps is made up for, so
    that the mean is ``fps`` and never more.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval = 1 / fps if fps else 0.0
        self._last = self._due = float("-inf")

    def passes(self, time: float) -> bool:
        """Whether the frame at ``time`` passes."""
        if time <= self._last or time < self._due - 0.25 * self._interval:
            return False
        self._last = time
        self._due = self._due + self._interval if self._due + self._interval > time else time + self._interval
        return True
