"""Sound of any rate, layout and format becomes one gapless line of mono samples at RATE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Samples

if TYPE_CHECKING:
    from av.audio.resampler import AudioResampler

SCALES = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "flt": 1, "dbl": 1}
RATES = range(1_000, 768_001)
SLACK = 0.04
"""Seconds by which written times may differ from counted samples: containers round times, and count coded blocks."""

PLANES = 8
"""Largest number of channels kept apart. FFmpeg writes no end mark behind so many, and PyAV 18.1 reads on until it
finds one: 8 must be interleaved first, more cannot be read safely."""

CHUNK = 0.1
"""Seconds that are resampled at once: larger pieces cost less, smaller ones reach the listener sooner."""

WEIGHTS = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
OTHER = 0.5


def hearable(frame: Any) -> bool:
    """Whether an audio frame's format, rate and number of channels can be converted."""
    planes = frame.layout.nb_channels if frame.format.is_planar else 1
    return frame.format.name.removesuffix("p") in SCALES and frame.sample_rate in RATES and planes <= PLANES


def mono(frame: Any) -> Array:
    """Return one channel (samples,) float32 in [-1, 1] from a decoded frame.

    Channels are weighted as in ITU-R BS.775 (front centre 1, front left and right √½, others ½, low-frequency effects
    0) and scaled to a sum of 1: two channels become their mean, and nothing can clip. Values that are no numbers
    become 0.
    """
    layout, kind = frame.layout, frame.format.name.removesuffix("p")
    if frame.format.is_planar and layout.nb_channels == PLANES:
        frame = _packed(frame, kind)
    values = frame.to_ndarray()
    values = values if frame.format.is_planar else values.reshape(-1, layout.nb_channels).T  # (channels, samples)
    scale = SCALES[kind]
    if scale == 1:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(-1.0, 1.0)
    weights = _weights(tuple(c.name for c in layout.channels), len(values))
    line: Array = weights @ values.astype(np.float32)
    return (line - 128) / 128 if kind == "u8" else line / np.float32(scale)


def _packed(frame: Any, kind: str) -> Any:
    from av import AudioResampler

    (packed,) = AudioResampler(format=kind).resample(frame)
    return packed


def _weights(names: tuple[str, ...], channels: int) -> Array:
    weights = np.array([WEIGHTS.get(name, OTHER) for name in names] if len(names) == channels else [1.0] * channels)
    weights = weights if weights.sum() else np.ones(channels)  # nothing but low-frequency effects
    return (weights / weights.sum()).astype(np.float32)


class Line:
    """Joins mono pieces into consecutive Samples at RATE.

    What is missing between two pieces is silence; what overlaps is taken once, from the earlier piece. Differences
    within SLACK are left alone.
    """

    def __init__(self) -> None:
        self._rate = 0
        self._base = 0.0  # when the first sample at the present rate is heard
        self._count = 0  # samples taken at the present rate
        self._start = 0.0
        self._given = 0  # samples given out
        self._waiting: list[Array] = []
        self._resampler: AudioResampler | None = None

    def push(self, values: Array, rate: int, time: float) -> Iterator[Samples]:
        """Take samples (n,) whose first one is heard at ``time``; yield what is complete."""
        if rate != self._rate:
            yield from self.finish()
            self._begin(rate, time)
        off = time - (self._base + self._count / rate)
        if off > SLACK:
            for part in _silence(round(off * rate), rate):
                yield from self._take(part)
        elif off < -SLACK:
            values = values[round(-off * rate) :]
        yield from self._take(values)

    def finish(self) -> Iterator[Samples]:
        """Yield the rest."""
        if self._rate:
            yield from self._give(last=True)

    def _begin(self, rate: int, time: float) -> None:
        from av import AudioResampler

        self._start = self._start if self._rate else time
        self._base = self._start + self._given / RATE if self._rate else time
        self._rate, self._count = rate, 0
        self._resampler = None if rate == RATE else AudioResampler(format="flt", layout="mono", rate=RATE)

    def _take(self, values: Array) -> Iterator[Samples]:
        self._count += len(values)
        self._waiting.append(values)
        if sum(map(len, self._waiting)) >= CHUNK * self._rate:
            yield from self._give(last=False)

    def _give(self, last: bool) -> Iterator[Samples]:
        values = np.concatenate(self._waiting) if self._waiting else np.empty(0, np.float32)
        self._waiting = []
        values = self._resampled(values, last) if self._resampler else values
        if len(values):
            yield Samples(self._start + self._given / RATE, values.clip(-1.0, 1.0))
            self._given += len(values)

    def _resampled(self, values: Array, last: bool) -> Array:
        from av import AudioFrame

        assert self._resampler is not None
        parts = []
        if len(values):
            frame = AudioFrame.from_ndarray(values[None], "flt", "mono")
            frame.sample_rate = self._rate
            parts += self._resampler.resample(frame)
        if last:
            parts += self._resampler.resample(None)
        return np.concatenate([np.empty(0, np.float32), *(p.to_ndarray()[0] for p in parts)])


def _silence(count: int, rate: int) -> Iterator[Array]:
    """Yield ``count`` zeros, a second at a time."""
    for first in range(0, count, rate):
        yield np.zeros(min(rate, count - first), np.float32)
