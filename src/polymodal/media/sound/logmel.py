"""Log-mel energies, F0 and voicing through torch alone: the acoustic features that need no other package."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from polymodal.media.types import RATE

STEP = RATE // 100
BANDS, LOWEST_BAND = 40, 20.0
MEL_WINDOW, MEL_FFT = RATE * 25 // 1000, 512
PITCH_WINDOW, PITCH_FFT = RATE * 50 // 1000, 1200  # three periods of the lowest F0; the FFT holds window + longest lag
LOWEST_F0, HIGHEST_F0 = 60.0, 500.0
VOICED, SILENT = 0.45, 1e-4
OCTAVE_COST = 0.01
ENERGY_FLOOR = 1e-10

NAMES = (*(f"logmel{i}" for i in range(BANDS)), "F0semitoneFrom27.5Hz", "voicing")


def describe(samples: Tensor) -> Tensor:
    """Return log-mel bands, F0 and voicing of ``samples`` (n,) at 16 kHz as (steps, 42), one step every 10 ms.

    Step ``i`` describes the 25 ms (mel) and the 50 ms (F0) around ``i * 10 + 25`` ms; there are
    ``(n - 800) // 160 + 1`` steps, so ``n`` must be at least 800.

    - ``logmel0`` to ``logmel39``: natural logarithm of the energy in 40 triangles, equally spaced from 20 Hz to 8 kHz
      on the mel scale 2595 log10(1 + f / 700), of a Hann window; a full-scale sine has energy 1/4 at most.
    - ``F0semitoneFrom27.5Hz``: from 60 to 500 Hz; 0 where unvoiced.
    - ``voicing``: height of the autocorrelation's peak, 0 to 1; 0 in silence.
    """
    frames = samples.unfold(0, PITCH_WINDOW, STEP)  # (steps, 800)
    side = (PITCH_WINDOW - MEL_WINDOW) // 2
    # Some at a time: spectra are far larger than features.
    parts = (torch.cat([_log_mel(f[:, side:-side]), _pitch(f)], dim=1) for f in frames.split(500))
    return torch.cat(list(parts))


def _log_mel(frames: Tensor) -> Tensor:
    window = torch.hann_window(MEL_WINDOW, periodic=False)
    spectrum = torch.fft.rfft(frames * (window / window.sum()), MEL_FFT)
    return (spectrum.abs().square() @ filterbank() + ENERGY_FLOOR).log()


@cache
def filterbank() -> Tensor:
    """Return the triangles as (257 bins, 40 bands), each 1 at its middle and 0 at its neighbours' middles."""
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    bottom = 2595 * math.log10(1 + LOWEST_BAND / 700)
    edges = 700 * (10 ** (torch.linspace(bottom, top, BANDS + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, MEL_FFT // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def _pitch(frames: Tensor) -> Tensor:
    """Return F0 in semitones and voicing, (steps, 2).

    Autocorrelation of the windowed frame over that of the window (Boersma 1993, eq. 9); the highest peak wins, its top
    found by a parabola, with the cost that keeps a period from losing to its multiples (eq. 24).
    """
    window = torch.hann_window(PITCH_WINDOW, periodic=False)
    frames = frames - frames.mean(dim=1, keepdim=True)
    first, last = math.floor(RATE / HIGHEST_F0) - 1, math.ceil(RATE / LOWEST_F0) + 1
    lags = torch.arange(first + 1, last)
    of_window = _autocorrelation(window)[first : last + 1]
    correlation = _autocorrelation(frames * window)[:, first : last + 1] / of_window  # (steps, lags + 2)
    left, middle, right = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    bend = (2 * middle - left - right).clamp(min=1e-9)
    shift = (right - left) / (2 * bend)
    height = middle + (right - left) * shift / 4
    is_peak = (middle >= left) & (middle > right)
    strength = torch.where(is_peak, height - OCTAVE_COST * torch.log2(lags * LOWEST_F0 / RATE), -torch.inf)
    best = strength.argmax(dim=1, keepdim=True)
    voicing = torch.where(is_peak, height, 0.0).gather(1, best).clamp(0, 1)
    voicing = voicing * (frames.square().mean(dim=1, keepdim=True).sqrt() > SILENT)
    period = lags[best] + shift.gather(1, best)
    semitones = 12 * torch.log2(RATE / period / 27.5)
    return torch.cat([torch.where(voicing >= VOICED, semitones, 0.0), voicing], dim=1)


def _autocorrelation(frames: Tensor) -> Tensor:
    """Return the autocorrelation along the last dimension, 1 at lag 0 (0 everywhere for zeros)."""
    power = torch.fft.rfft(frames, PITCH_FFT).abs().square()
    raw = torch.fft.irfft(power, PITCH_FFT)
    return raw / raw[..., :1].clamp(min=1e-12)
