"""One time axis: features to words, one recording's clock to another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.media.types import Track, Word


def align_to_words(track: Track, words: Sequence[Word]) -> Array:
    """Return the mean of the steps inside each word (``start <= time < end``), (words, width) float32.

    A word shorter than the spacing of the steps may hold none: it takes the step nearest to its middle, if that is no
    further than the median spacing. A track of one step describes the whole utterance and is every word's. A word
    outside the track, or in a gap of it, is zeros. The order of the words does not matter, nor does overlap.
    """
    if not len(track) or not words:
        return np.zeros((len(words), track.values.shape[1]), np.float32)
    spans = np.array([(w.start, w.end) for w in words], np.float64)
    first, last = np.searchsorted(track.times, spans).T
    inside = last > first
    middle = spans.mean(axis=1)
    nearest = _nearest(track.times, middle)
    spacing = np.median(np.diff(track.times)) if len(track) > 1 else np.inf
    kept = inside | (np.abs(track.times[nearest] - middle) <= spacing)
    first, last = np.where(inside, first, nearest), np.where(inside, last, nearest + 1)
    # Sums of values[first:last]: reduceat sums between consecutive indices, every other one is wanted. The row of zeros
    # makes the end of the track an index. Prefix sums would let one infinity spoil all later words.
    padded = np.concatenate([track.values, np.zeros_like(track.values[:1])])
    sums = np.add.reduceat(padded, np.stack([first, last], axis=1).ravel(), axis=0, dtype=np.float64)[::2]
    means = sums / (last - first)[:, None]
    return np.where(kept[:, None], means, 0.0).astype(np.float32)


def _nearest(times: Array, wanted: Array) -> Array:
    """Return the index of the time nearest to each of ``wanted``."""
    right = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1)).clip(max=len(times) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted - times[left] <= times[right] - wanted, left, right)


@dataclass(frozen=True)
class Clock:
    """Maps the times of one recording to those of another: ``t`` becomes ``offset + (1 + drift) * t``.

    Args:
        offset: seconds.
        drift: seconds per second; 0.01 if the recording runs 1 % too fast, that is, its seconds are too many.
    """

    offset: float = 0.0
    drift: float = 0.0

    def at(self, times: Array) -> Array:
        """Return ``times`` on the other recording's axis."""
        return self.offset + (1 + self.drift) * np.asarray(times, np.float64)

    def apply(self, track: Track) -> Track:
        """Return ``track`` on the other recording's axis."""
        return Track(self.at(track.times), track.values)

    @classmethod
    def between(cls, reference_times: Array, observed_times: Array) -> Clock:
        """Return the clock that maps ``observed_times`` to ``reference_times``, the same instants on both axes.

        The median slope of all pairs (Theil 1950, Sen 1968; of 500 instants at most) tells which instants to trust;
        least squares through those within three deviations of it gives the clock. Up to 29 % may be wrong. A single
        instant, or the same one repeated, gives an offset without drift.

        Raises:
            DataError: no instants, or numbers of instants that differ.
        """
        reference, observed = (np.asarray(t, np.float64) for t in (reference_times, observed_times))
        if reference.shape != observed.shape or not reference.size:
            raise DataError(
                f"{reference.size} times of one recording and {observed.size} of the other; give the same instants"
            )
        from scipy.stats import theilslopes

        gap = reference - observed  # the drift is small: a line through gaps loses no digits
        if np.ptp(observed) == 0:
            return cls(float(np.median(gap)), 0.0)
        some = np.unique(np.linspace(0, len(gap) - 1, 500).round().astype(int))
        drift = theilslopes(gap[some], observed[some])[0]
        residual = gap - drift * observed
        residual -= np.median(residual)
        deviation = 1.4826 * np.median(np.abs(residual))
        good = np.abs(residual) <= max(3 * deviation, 1e-9)
        middle = observed[good].mean()
        centred = observed[good] - middle
        if (spread := centred @ centred) > 0:
            drift = centred @ gap[good] / spread
        return cls(float(gap[good].mean() - drift * middle), float(drift))
