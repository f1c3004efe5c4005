"""Log-mel bands and F0 against closed forms and a slow twin in NumPy."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.media.sound.logmel import BANDS, ENERGY_FLOOR, NAMES, describe, filterbank
from polymodal.media.types import RATE


def mel(frequency):
    return 2595 * math.log10(1 + frequency / 700)


def hertz(value):
    return 700 * (10 ** (value / 2595) - 1)


def edges():
    low, high = mel(20), mel(8000)
    return [hertz(low + (high - low) * i / (BANDS + 1)) for i in range(BANDS + 2)]


def slow_log_mel(samples, step):
    """Definition, sum by sum: Hann window, DFT of 512, triangles."""
    begin = step * 160 + 200
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 399) for n in range(400)]
    frame = [float(samples[begin + n]) * window[n] / sum(window) for n in range(400)]
    power = [abs(sum(x * np.exp(-2j * np.pi * k * n / 512) for n, x in enumerate(frame))) ** 2 for k in range(257)]
    corner = edges()
    bands = []
    for left, middle, right in zip(corner, corner[1:], corner[2:], strict=False):
        energy = 0.0
        for k, p in enumerate(power):
            f = k * RATE / 512
            if left < f <= middle:
                energy += p * (f - left) / (middle - left)
            elif middle < f < right:
                energy += p * (right - f) / (right - middle)
        bands.append(math.log(energy + ENERGY_FLOOR))
    return bands


def test_bands_equal_the_definition():
    samples = np.random.default_rng(0).standard_normal(1200).astype(np.float32) * 0.1
    fast = describe(torch.from_numpy(samples)).numpy()
    assert fast.shape == ((1200 - 800) // 160 + 1, len(NAMES))
    for step in (0, 2):
        np.testing.assert_allclose(fast[step, :BANDS], slow_log_mel(samples, step), rtol=1e-3, atol=1e-3)


def test_the_energy_of_a_tone_is_in_its_band():
    corner = edges()
    for band in range(6, BANDS):
        frequency = corner[band + 1]
        samples = torch.sin(2 * math.pi * frequency * torch.arange(4000) / RATE)
        assert describe(samples)[:, :BANDS].mean(dim=0).argmax() == band


def test_energy_is_the_square_of_the_amplitude():
    samples = torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 0.01
    louder = describe(10 * samples)[:, :BANDS] - describe(samples)[:, :BANDS]
    torch.testing.assert_close(louder, torch.full_like(louder, math.log(100)), atol=1e-2, rtol=0)


def test_triangles_are_at_most_one_and_cover_the_axis():
    bank = filterbank()
    assert bank.shape == (257, BANDS)
    assert bank.min() == 0
    assert bank.max() <= 1
    assert (bank.sum(dim=0) > 0).all()
    inner = bank[4:235].sum(dim=1)  # neighbours sum to 1 between the first and the last middle
    torch.testing.assert_close(inner, torch.ones_like(inner))


@given(frequency=st.floats(62, 490), phase=st.floats(0, 6.28), harmonics=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_f0_of_any_harmonic_tone_is_its_fundamental(frequency, phase, harmonics):
    time = torch.arange(3200, dtype=torch.float64) / RATE
    samples = sum(torch.sin(2 * math.pi * frequency * k * time + k * phase) / k for k in range(1, harmonics + 1))
    described = describe((0.1 * samples).float())
    found = 27.5 * 2 ** (described[:, BANDS] / 12)
    torch.testing.assert_close(found, torch.full_like(found, frequency), rtol=0.01, atol=0)
    assert (described[:, BANDS + 1] > 0.95).all()


def test_voicing_falls_with_noise():
    generator = torch.Generator().manual_seed(0)
    tone = torch.sin(2 * math.pi * 150 * torch.arange(RATE) / RATE)
    disturbance = torch.randn(RATE, generator=generator)
    voicing = [describe(tone + level * disturbance)[:, BANDS + 1].mean().item() for level in (0, 0.2, 0.5, 1, 3)]
    assert voicing == sorted(voicing, reverse=True)
    assert voicing[0] > 0.99
    assert voicing[-1] < 0.45
