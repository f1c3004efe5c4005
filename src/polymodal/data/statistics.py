"""Means and deviations of columns that may be larger than memory."""

from __future__ import annotations

import numpy as np

from polymodal.data.ragged import Array, Ragged

_CHANNELS = 16
"""Most channels looked at together: 8 MiB of a block of 65,536 steps."""


def channel_statistics(column: Ragged) -> tuple[Array, Array]:
    """Return float32 per-channel mean and standard deviation over all steps (and pixels), in one bounded-memory pass.

    A channel that never changes, or that no row has, gets a deviation of 1.
    """
    mean, variance = (_of_pixels if len(column.step) > 1 else _of_features)(column)
    std = np.sqrt(np.maximum(variance, 0))
    std[std < 1e-6] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


def _of_features(column: Ragged) -> tuple[Array, Array]:
    count, total, square = 0, np.zeros(column.width), np.zeros(column.width)
    shift = np.zeros(column.width)
    # A few channels at a time: copies of a block in double precision are many times its size. Cutting it into steps
    # instead would add the numbers of a channel in another order.
    parts = np.array_split(np.arange(column.width), -(-column.width // _CHANNELS))
    slices = [slice(part[0], part[-1] + 1) for part in parts]
    for raw in column.blocks():
        for channels in slices:
            block = np.array(raw[:, channels], dtype=np.float64, order="C")
            # Shifting by the first block's mean keeps the sum of squares accurate for channels far from zero.
            if count == 0:
                shift[channels] = block.mean(axis=0)
            block -= shift[channels]
            total[channels] += block.sum(axis=0)
            block *= block
            square[channels] += block.sum(axis=0)
        count += len(raw)
    mean = total / max(1, count)
    return mean + shift, square / max(1, count) - mean * mean


def _of_pixels(column: Ragged) -> tuple[Array, Array]:
    """Sums of whole numbers: exact, and without a float copy of the pixels."""
    channels, height, width = column.step
    total, square = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for block in column.blocks():
        total += block.sum(axis=(0, 2, 3), dtype=np.int64)
        square += np.einsum("nchw,nchw->c", block, block, dtype=np.int64)
    count = max(1, int(column.lengths.sum()) * height * width)
    mean = total / count
    return mean, square / count - mean * mean
