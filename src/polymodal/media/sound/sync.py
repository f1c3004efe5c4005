"""The clock between two recordings of the same scene, found by what they have in common."""

from __future__ import annotations

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.media.types import Track
from polymodal.media.words.align import Clock

ALIKE, CLOSE = 0.45, 0.8
"""A window is believed from this correlation on, and from this share of the best window's."""
ROUGHLY, AGREE = 0.1, 0.02
"""Seconds by which half of the believed windows may differ from the clock, in the first pass and in the second (there
one step, if that is more)."""
LARGEST_DRIFT, SHORTEST = 0.05, 6


def estimate_clock(reference: Track, other: Track, *, max_offset: float = 2.0, window: float = 4.0) -> Clock:
    """Return the clock that puts ``other`` on the axis of ``reference``.

    Both must describe the same activity: the same features of two microphones, or one envelope each, such as loudness
    and the opening of the mouth. Windows of ``other`` are laid over ``reference`` where the correlation over all
    features is highest (its top found by a parabola); a line through their times is the clock. A second pass with the
    drift, 5 % at most, taken out of the windows makes it sharper. Another recording with the same rhythm, such as the
    same sentence again, is taken for the same scene.

    Args:
        max_offset: largest difference of the two axes anywhere in the recording, seconds.
        window: seconds; at most a quarter of the shorter recording is used.

    Raises:
        DataError: the widths differ, a track is shorter than a second or too coarse, or the recordings agree on no
            clock.
    """
    widths = reference.values.shape[1], other.values.shape[1]
    if widths[0] != widths[1]:
        raise DataError(f"one track has {widths[0]} features and the other {widths[1]}; give the same of both")
    length = min(float(np.ptp(t.times)) if len(t) else 0.0 for t in (reference, other))
    if length < 1:
        raise DataError(f"a track of {length:.2f} s is too short to find its clock; give at least a second of both")
    step = max(1e-3, min(float(np.median(np.diff(t.times))) for t in (reference, other)))
    size = int(min(window, length / 4) / step)
    if size < SHORTEST:
        raise DataError(
            f"{size} steps of {step:g} s in a window are too few to find a clock; give longer or denser tracks"
        )
    clock = Clock()
    for reach, tolerance in ((max_offset, ROUGHLY), (min(0.25, max_offset), max(AGREE, step))):
        at_reference, at_other = _matches(
            _sampled(reference, step), _sampled(clock.apply(other), step), step, size, reach
        )
        observed = (at_other - clock.offset) / (1 + clock.drift)
        found = Clock.between(at_reference, observed) if len(observed) > 1 else None
        apart = np.inf if found is None else np.median(np.abs(found.at(observed) - at_reference))
        if found is None or apart > tolerance or abs(found.drift) > LARGEST_DRIFT:
            raise DataError(
                f"the two recordings agree on no clock within {max_offset:g} s; are they of the same scene, "
                "and is max_offset large enough?"
            )
        clock = found
    return clock


def _sampled(track: Track, step: float) -> Track:
    """Return ``track`` on a regular grid, each feature with mean 0 and deviation 1."""
    times = np.arange(track.times[0], track.times[-1], step)
    values = np.stack([np.interp(times, track.times, column) for column in track.values.T.astype(np.float64)], axis=1)
    values -= values.mean(axis=0)
    return Track(times, values / np.maximum(values.std(axis=0), 1e-9))


def _matches(reference: Track, other: Track, step: float, size: int, reach: float) -> tuple[Array, Array]:
    """Return the middles of the believed windows of ``other``, on both axes."""
    found = []
    start = float(reference.times[0])
    for begin in range(0, len(other.values) - size + 1, max(1, size // 2)):
        time = float(other.times[begin])
        first = max(0, round((time - reach - start) / step))
        last = max(0, round((time + reach - start) / step) + size + 1)
        scores = _correlation(reference.values[first:last], other.values[begin : begin + size])
        if len(scores) < 3:
            continue
        best = int(scores[1:-1].argmax()) + 1
        left, top, right = scores[best - 1 : best + 2]
        if top >= ALIKE and top > left and top >= right:
            shift = (right - left) / (2 * (2 * top - left - right))
            found.append((start + (first + best + shift) * step, time, top))
    at_reference, at_other, score = np.array(found).reshape(-1, 3).T
    good = score >= CLOSE * score.max(initial=0.0)
    return at_reference[good] + size * step / 2, at_other[good] + size * step / 2


def _correlation(region: Array, piece: Array) -> Array:
    """Return the correlation of ``piece`` (size, width) with each stretch of ``region`` (n, width), (n - size + 1,)."""
    from scipy.signal import fftconvolve

    size = len(piece)
    if len(region) < size:
        return np.zeros(0)
    piece = piece - piece.mean(axis=0)
    products = fftconvolve(region, piece[::-1], mode="valid", axes=0).sum(axis=1)
    sums, squares = (np.cumsum(np.vstack([np.zeros(region.shape[1]), x]), axis=0) for x in (region, region**2))
    energy = (squares[size:] - squares[:-size] - (sums[size:] - sums[:-size]) ** 2 / size).sum(axis=1)
    return products / np.sqrt(np.maximum(energy * np.square(piece).sum(), 1e-12))
