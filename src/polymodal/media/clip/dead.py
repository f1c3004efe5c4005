"""Sound and pictures that are there and say nothing: a dead microphone, a stuck or covered camera."""

from __future__ import annotations

import numpy as np

from polymodal.data.ragged import Array

SILENT = 2**-13
"""Distance of the highest sample from the lowest, up to which there is no sound: four steps of 16 bit, what dither
makes of nothing. The quietest 0.2 s of 211 recordings (EmoDB, GRID) has 358 steps."""

SIDE = 8
"""Pixels of a block: its mean says what moves, and little of noise."""

STILL = 5.0
"""Grey levels of 255 by which the mean of a block may differ in one and the same picture. Coded anew, a picture that
stands still differs by 1 to 4.3 (MPEG-1, 2 and 4, H.264 up to CRF 28, VP8). A face of 11 GRID clips differs by 23 and
more within two seconds, even at CRF 48."""

STUCK, SETTLED = 2.0, 0.5
"""Seconds that a picture must stand still to be stuck; seconds in which a codec may first make it sharper."""

DARK = 16.0
"""Grey levels that the mean of no block exceeds in a black picture."""


def is_silence(values: Array) -> bool:
    """Return whether samples (n,) are nothing but zeros, dither or a constant."""
    return len(values) > 0 and float(np.ptp(values)) <= SILENT


class Stillness:
    """Says since when a picture has not changed.

    Attributes:
        since: time of the first frame that looked like the last one.
        dark: whether the last frame is black.
    """

    def __init__(self) -> None:
        self._reference: Array = np.zeros((0, 0))
        self.since, self.dark = 0.0, False

    def push(self, time: float, image: Array) -> None:
        """Take the next frame: (height, width, 3) uint8."""
        means = _means(image)
        self.dark = bool(means.max() <= DARK)
        # Compared to where stillness began, not to the frame before: a slow change is one as well.
        if means.shape != self._reference.shape or np.abs(means - self._reference).max() > STILL:
            self._reference, self.since = means, time


def _means(image: Array) -> Array:
    """Return the mean of every whole block over its pixels and colours."""
    side = min(SIDE, *image.shape[:2])
    height, width = image.shape[0] // side, image.shape[1] // side
    columns = image[: height * side, : width * side].reshape(height, side, width * side * 3).sum(1, dtype=np.uint16)
    return columns.reshape(height, width, side * 3).sum(2, dtype=np.uint16) / np.float32(3 * side * side)
