"""What is heard: pitch, loudness, jitter and shimmer of whoever speaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polymodal.core import Kind
from polymodal.data.ragged import Array
from polymodal.measure.grid import Span, overlap, rows_in
from polymodal.measure.speaking import STEP
from polymodal.media.sound.audio import Acoustic
from polymodal.media.sound.speech import SpeechActivity
from polymodal.media.types import RATE, Samples, Segment, Track

CHANNELS = ("f0", "loudness", "jitter", "shimmer", "level")
"""F0 in Hz, eGeMAPS' loudness, jitter (a ratio), shimmer in dB, level in dB below full scale. NaN: unvoiced."""

_TAKEN = ("F0semitoneFrom27.5Hz_sma3nz", "Loudness_sma3", "jitterLocal_sma3nz", "shimmerLocaldB_sma3nz")
LONGEST_STRETCH = 600.0
VOICED = 20
"""Steps of voice, a fifth of a second, without which pitch, jitter and shimmer are not told."""

SILENCE = -120.0
"""Decibels of digital silence."""


class Voice:
    """Describes the sound of one clip; what media takes for an acoustic extractor.

    Speech is looked for on the way: ``describe`` must get the clip in order, pieces may overlap.

    Attributes:
        stretches: of speech that have ended.
    """

    kind: Kind = "sequence"
    names, width = CHANNELS, len(CHANNELS)

    def __init__(self) -> None:
        self._acoustic = Acoustic("egemaps")
        self._columns = [self._acoustic.names.index(name) for name in _TAKEN]
        self._activity = SpeechActivity(longest=LONGEST_STRETCH)
        self.margin, self.version = self._acoustic.margin, f"{self._acoustic.version}, {self._activity.version}"
        self.stretches: list[Segment] = []

    def describe(self, samples: Array, start: float) -> Track:
        """Return the channels of ``samples`` (n,), the first one heard at ``start`` seconds."""
        if len(samples):  # beyond the sound there is no silence to listen to, however long the clip says that it is
            self.stretches += self._activity.push(Samples(start, samples))
        found = self._acoustic.describe(samples, start)
        tone, loudness, jitter, shimmer = found.values[:, self._columns].T
        voiced = tone > 0
        columns = [27.5 * 2 ** (tone / 12), loudness, jitter, shimmer]
        # openSMILE writes 0 for what it could not find.
        known = [voiced, np.ones_like(voiced), voiced & (jitter > 0), voiced & (shimmer > 0)]
        values = [np.where(where, column, np.nan) for column, where in zip(columns, known, strict=True)]
        return Track(found.times, np.stack([*values, level(samples, len(found))], axis=1).astype(np.float32))

    def finish(self) -> list[Segment]:
        """Return all stretches of speech; the clip is over."""
        self.stretches += self._activity.finish()
        return self.stretches


def level(samples: Array, steps: int) -> Array:
    """Return (steps,) decibels: the mean square of 20 ms around the middle of each step, 0 for a square of full scale.

    Args:
        samples: (n,) at 16 kHz; step ``i`` has its middle at ``i * STEP + 0.02`` s.
    """
    squares = np.concatenate([[0.0], np.cumsum(np.square(np.nan_to_num(samples).astype(np.float64)))])
    hop = round(RATE * STEP)
    first = np.minimum(np.arange(steps) * hop + hop, len(samples))
    last = np.minimum(first + 2 * hop, len(samples))
    mean = (squares[last] - squares[first]) / np.maximum(last - first, 1)
    decibels: Array = 10 * np.log10(np.maximum(mean, 10 ** (SILENCE / 10)))
    return decibels


def voice_measures(series: Array, spoken: Sequence[Span], spans: Sequence[Span]) -> dict[str, float]:
    """Return the measures of the voice in ``spans``; NaN where too little of it is there.

    Args:
        series: (n, len(CHANNELS)) every ``STEP`` seconds.
        spoken: when somebody speaks; nothing else counts.
    """
    inside = series[rows_in(len(series), STEP, overlap(spoken, spans))]
    f0, loudness, jitter, shimmer, decibels = (c[np.isfinite(c)] for c in inside.T)
    low, high = _percentiles(f0)
    quiet, loud = _percentiles(loudness)
    soft, strong = _percentiles(decibels)
    return {
        "f0_median": _middle(f0),
        "f0_range": 12 * float(np.log2(high / low)),
        "loudness_median": _middle(loudness),
        "loudness_range": loud - quiet,
        "level_median": _middle(decibels),
        "level_range": strong - soft,
        "jitter": 100 * float(np.mean(jitter)) if len(jitter) >= VOICED else float("nan"),
        "shimmer": float(np.mean(shimmer)) if len(shimmer) >= VOICED else float("nan"),
    }


def _middle(values: Array) -> float:
    return float(np.median(values)) if len(values) >= VOICED else float("nan")


def _percentiles(values: Array) -> tuple[float, float]:
    """Return the 10th and the 90th percentile."""
    if len(values) < VOICED:
        return float("nan"), float("nan")
    low, high = np.percentile(values, (10, 90))
    return float(low), float(high)
