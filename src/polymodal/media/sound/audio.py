"""Acoustic features: openSMILE's standard sets, or log-mel energies and F0 without openSMILE."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from polymodal.core import Kind, OptionError, nearest
from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Track

STEP = RATE // 100
BLOCK = 6000
"""Steps described at once: one minute."""
FULL_SCALE = 1 - 2**-15


class _Extractor(Protocol):
    """What turns samples into features.

    Attributes:
        window: samples of the longest analysis window.
        centre: seconds from the first sample to the instant that the first step describes.
        margin: seconds of context on either side beyond which more of it changes nothing.
    """

    kind: Kind
    names: tuple[str, ...]
    version: str
    window: int
    centre: float
    margin: float

    def __call__(self, samples: Array) -> Array:
        """Return (steps, width), one step every 10 ms, or (1, width) for a vector."""
        ...


class Acoustic:
    """Acoustic features of a recording.

    Args:
        features: ``egemaps``, ``compare`` (sequences, a step every 10 ms), ``egemaps-functionals``,
            ``compare-functionals`` (one vector per recording) or ``logmel`` (sequence, see ``logmel.describe``).

    The first four are openSMILE's eGeMAPSv02 (Eyben et al. 2016, 25 low-level descriptors, 88 functionals) and ComParE
    2016 (Schuller et al. 2016, 65 and 6373). openSMILE's licence allows research, teaching and private use, not
    commercial products; ``logmel`` carries no such condition.

    A step's time: openSMILE puts a 20 ms window (spectrum, loudness, MFCC, formants) and a 60 ms window (F0, jitter,
    shimmer, HNR) into the same step, both beginning at its index. We take 20 ms after that beginning, half-way between
    the two middles, so that no feature is off by more than one step. ``logmel`` centres its windows on the time.

    Attributes:
        kind: ``sequence`` or ``vector``.
        width, names: features per step.
        version: of the extractor, for the record.
        margin: seconds of sound wanted before and after a stretch for its steps to be those of the whole recording.

    Raises:
        OptionError: unknown features, or openSMILE is not installed.
    """

    def __init__(self, features: str) -> None:
        if features not in FEATURES:
            raise OptionError(f"there are no acoustic features {features!r}{nearest(features, FEATURES)}")
        self.features = features
        self._extract: _Extractor = _LogMel() if features == "logmel" else _OpenSmile(*_SETS[features])
        self.kind: Kind = self._extract.kind
        self.names = self._extract.names
        self.width = len(self.names)
        self.version = self._extract.version
        self.margin = self._extract.margin

    def describe(self, samples: Array, start: float) -> Track:
        """Return the features of ``samples`` (n,) at 16 kHz, the first one heard at ``start`` seconds.

        NaN and infinite samples count as 0. A recording shorter than one window (60 ms; 50 ms for ``logmel``), or
        without any finite sample, has no steps. Long recordings are described minute by minute (functionals at once).
        """
        finite = np.isfinite(samples)
        if len(samples) < self._extract.window or not finite.any():
            return Track(np.zeros(0), np.zeros((0, self.width), np.float32))
        # openSMILE casts to 16 bit, where a sample beyond full scale turns into its opposite.
        heard = np.where(finite, samples, 0).astype(np.float32).clip(-1, FULL_SCALE)
        if self.kind == "vector":
            values, times = self._extract(heard), np.array([start + len(heard) / RATE / 2])
        else:
            values = np.concatenate(list(self._by_blocks(heard)))
            times = start + (self._extract.centre + np.arange(len(values)) * STEP / RATE)
        # openSMILE answers NaN where a statistic has no data, for example the spread of F0 without a voiced step.
        return Track(times, np.nan_to_num(values, posinf=0.0, neginf=0.0))

    def _by_blocks(self, samples: Array) -> Iterator[Array]:
        """Yield features block by block; the last block takes the rest, so that none is too short."""
        context = math.ceil(self.margin * RATE / STEP)
        count = max(1, len(samples) // (BLOCK * STEP))
        for block in range(count):
            first = block * BLOCK
            before = min(first, context)
            rest = block == count - 1
            end = None if rest else (first + BLOCK + context) * STEP + self._extract.window
            values = self._extract(samples[(first - before) * STEP : end])
            yield values[before : None if rest else before + BLOCK]


class _OpenSmile:
    window, centre = RATE * 60 // 1000, 0.02

    def __init__(self, feature_set: str, level: str, margin: float) -> None:
        try:
            import opensmile
        except ImportError as error:
            raise OptionError(
                "openSMILE is not installed; run `pip install 'polymodal[media]'`, or choose audio=logmel, "
                f"which does without it ({error})"
            ) from None
        self._smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[level])
        self.kind: Kind = "vector" if level == "Functionals" else "sequence"
        self.names = tuple(self._smile.feature_names)
        self.version = f"openSMILE {opensmile.__version__} {feature_set} {level}"
        self.margin = margin

    def __call__(self, samples: Array) -> Array:
        return self._smile.process_signal(samples, RATE).to_numpy(np.float32)


class _LogMel:
    kind: Kind = "sequence"
    centre, margin = 0.025, 0.03  # whole steps, so that a stretch has the steps of the whole
    version = "polymodal logmel 1"

    def __init__(self) -> None:
        from polymodal.media.sound import logmel

        self.names, self.window = logmel.NAMES, logmel.PITCH_WINDOW

    def __call__(self, samples: Array) -> Array:
        import torch

        from polymodal.media.sound.logmel import describe

        with torch.inference_mode():
            return describe(torch.from_numpy(samples)).numpy()


# Set, level, margin. Jitter and shimmer look back over some periods (0.25 s is not enough, 0.5 s makes no difference at
# all), ComParE's RASTA filter forgets slowly (largest difference in standard deviations: 0.5 with 0.5 s, 0.03 with 1 s,
# 0.00004 with 2 s). A vector describes just what it is given.
_SETS = {
    "egemaps": ("eGeMAPSv02", "LowLevelDescriptors", 0.5),
    "egemaps-functionals": ("eGeMAPSv02", "Functionals", 0.0),
    "compare": ("ComParE_2016", "LowLevelDescriptors", 2.0),
    "compare-functionals": ("ComParE_2016", "Functionals", 0.0),
}
FEATURES = (*_SETS, "logmel")
