"""Acoustic features: known tones, loudness, silence, blocks against the whole, real speech."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from polymodal.core import OptionError
from polymodal.media.sound import audio
from polymodal.media.sound.audio import FEATURES, Acoustic
from polymodal.media.types import RATE

WIDTHS = {"egemaps": 25, "egemaps-functionals": 88, "compare": 65, "compare-functionals": 6373, "logmel": 42}
SEQUENCES = ("egemaps", "compare", "logmel")
PITCH = {"egemaps": "F0semitoneFrom27.5Hz_sma3nz", "logmel": "F0semitoneFrom27.5Hz"}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@cache
def acoustic(features):
    return Acoustic(features)


def column(features, samples, name):
    described = acoustic(features)
    return described.describe(samples, 0.0).values[:, described.names.index(name)]


def tone(frequency, seconds=1.0, amplitude=0.3):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def read_flac(path: Path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.float32) / 32768


def hertz(semitones):
    return 27.5 * 2 ** (semitones / 12)


@pytest.mark.parametrize("features", FEATURES)
def test_names_widths_and_kinds_are_those_of_the_set(features):
    described = acoustic(features)
    track = described.describe(noise(1), 0.0)
    assert described.width == len(described.names) == len(set(described.names)) == WIDTHS[features]
    assert track.values.shape == (len(track.times), WIDTHS[features])
    assert track.values.dtype == np.float32
    assert described.kind == ("vector" if "functionals" in features else "sequence")
    assert (len(track) == 1) == (described.kind == "vector")
    assert described.version


@pytest.mark.parametrize("features", PITCH)
@pytest.mark.parametrize("frequency", [65, 80, 120, 200, 310, 440, 490])
def test_f0_of_a_tone_is_its_frequency(features, frequency):
    steps = column(features, tone(frequency), PITCH[features])[10:-10]
    assert len(steps) > 50
    np.testing.assert_allclose(hertz(steps), frequency, rtol=0.01)


@pytest.mark.parametrize("features", PITCH)
def test_noise_and_silence_have_no_f0(features):
    for samples in (noise(2), np.zeros(2 * RATE, np.float32)):
        assert (column(features, samples, PITCH[features]) == 0).mean() > 0.9


@pytest.mark.parametrize(
    ("features", "name"), [("egemaps", "Loudness_sma3"), ("compare", "pcm_RMSenergy_sma"), ("logmel", "logmel10")]
)
def test_loudness_grows_with_amplitude(features, name):
    levels = [column(features, noise(1) * gain, name)[5:-5].mean() for gain in (0.02, 0.1, 0.5, 1.0, 2.0)]
    assert (np.diff(levels) > 0).all()


@pytest.mark.parametrize("features", FEATURES)
def test_silence_extremes_and_broken_samples_are_finite(features):
    broken = noise(1)
    broken[::7], broken[100:200], broken[300] = np.nan, np.inf, -1e30
    for samples in (np.zeros(RATE, np.float32), broken, 100 * noise(1), noise(0.06)):
        track = acoustic(features).describe(samples, 0.0)
        assert len(track) >= 1
        assert np.isfinite(track.values).all()


@pytest.mark.parametrize("features", FEATURES)
def test_nan_counts_as_zero(features):
    holes, zeros = noise(1), noise(1)
    holes[4000:4100], zeros[4000:4100] = np.nan, 0
    a, b = (acoustic(features).describe(x, 0.0).values for x in (holes, zeros))
    np.testing.assert_array_equal(a, b)


def test_what_is_louder_than_full_scale_is_clipped_not_wrapped_around():
    """A cast to 16 bit would turn 1.0 into -1.0: a click at every peak."""
    full, above = (column("egemaps", tone(200, amplitude=a), "slope500-1500_sma3")[10:-10] for a in (0.999, 1.0005))
    np.testing.assert_allclose(above, full, atol=0.02 * np.abs(full).max())


@pytest.mark.parametrize("features", FEATURES)
def test_too_little_sound_has_no_steps(features):
    for samples in (np.zeros(0, np.float32), noise(0.049), np.full(RATE, np.nan, np.float32)):
        track = acoustic(features).describe(samples, 3.0)
        assert track.times.shape == (0,)
        assert track.values.shape == (0, WIDTHS[features])


@pytest.mark.parametrize("features", FEATURES)
def test_start_shifts_the_times_exactly_and_nothing_else(features):
    here, there = (acoustic(features).describe(noise(0.5), start) for start in (0.0, 12.345))
    np.testing.assert_array_equal(there.times, 12.345 + here.times)
    np.testing.assert_array_equal(there.values, here.values)


@pytest.mark.parametrize("features", SEQUENCES)
def test_an_event_is_at_its_time(features):
    """A burst of 100 ms around 0.8 s: where energy and where voice change most."""
    time = np.arange(2 * RATE) / RATE
    burst = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 15)) * 0.1 * (np.abs(time - 0.8) < 0.05)
    quiet = 0.001 * noise(2)
    with_burst, without = (acoustic(features).describe(x, 0.0) for x in ((quiet + burst).astype(np.float32), quiet))
    change = np.abs(with_burst.values - without.values)
    for name in {
        "egemaps": ("Loudness_sma3", "F0semitoneFrom27.5Hz_sma3nz"),
        "compare": ("pcm_RMSenergy_sma", "F0final_sma"),
        "logmel": ("logmel3", "F0semitoneFrom27.5Hz"),
    }[features]:
        weight = change[:, acoustic(features).names.index(name)]
        assert np.average(with_burst.times, weights=weight) == pytest.approx(0.8, abs=0.011)


@pytest.mark.parametrize("features", SEQUENCES)
def test_blocks_equal_the_whole(features, monkeypatch, shared: Path):
    """Where blocks meet nothing shows, nor does it on a stretch with its margin; 1e-3 of a standard deviation."""
    clips = sorted((shared / "data/emodb/audio").glob("*.flac"))[:8]
    speech = np.concatenate([read_flac(p) for p in clips])
    described = acoustic(features)
    whole = described.describe(speech, 0.0)
    scale = whole.values.std(axis=0) + 1e-9

    monkeypatch.setattr(audio, "BLOCK", 250)
    blocks = described.describe(speech, 0.0)
    np.testing.assert_array_equal(blocks.times, whole.times)
    assert (np.abs(blocks.values - whole.values) / scale).max() < 1e-3

    before, after = (round(t * RATE) for t in (6 - described.margin, 8 + described.margin))
    part = described.describe(speech[before:after], 6 - described.margin).cut(6, 8)
    expected = whole.cut(6, 8)
    steps = min(len(part), len(expected))
    assert steps >= 199
    assert (np.abs(part.values[:steps] - expected.values[:steps]) / scale).max() < 1e-3


@pytest.mark.parametrize("features", SEQUENCES)
def test_no_more_than_two_blocks_are_described_at_once(features, monkeypatch):
    lengths = []
    extractor = type(acoustic(features)._extract)
    describe = extractor.__call__

    def measure(self, samples):
        lengths.append(len(samples) / RATE)
        return describe(self, samples)

    whole = acoustic(features).describe(noise(7.9), 0.0)
    monkeypatch.setattr(extractor, "__call__", measure)
    monkeypatch.setattr(audio, "BLOCK", 100)
    assert len(acoustic(features).describe(noise(7.9), 0.0)) == len(whole)
    assert len(lengths) == 7
    assert max(lengths) < 2 + 2 * acoustic(features).margin + 0.1


def test_f0_of_a_man_is_that_of_a_man_and_both_extractors_agree(shared: Path):
    apart = []
    for clip in ("03a01Nc", "10a01Nb", "11a01Nd"):
        speech = read_flac(shared / f"data/emodb/audio/{clip}.flac")
        ours, theirs = (column(f, speech, PITCH[f]) for f in ("logmel", "egemaps"))
        both = (ours[: len(theirs)] > 0) & (theirs[: len(ours)] > 0)
        assert 60 < hertz(np.median(ours[ours > 0])) < 250
        assert 60 < hertz(np.median(theirs[theirs > 0])) < 250
        apart.append((ours[: len(theirs)] - theirs[: len(ours)])[both])
    difference = np.abs(np.concatenate(apart))
    assert np.median(difference) < 0.5
    assert (difference < 1).mean() > 0.85


def test_unknown_features_name_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'egemaps'"):
        Acoustic("egemap")
    with pytest.raises(OptionError, match="'file'"):
        Acoustic("file")


def test_without_opensmile_the_error_names_the_remedy_and_logmel_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(OptionError, match=r"pip install 'polymodal\[media\]'.*audio=logmel") as caught:
        Acoustic("egemaps")
    assert "\n" not in str(caught.value)
    assert len(Acoustic("logmel").describe(noise(1), 0.0)) == 96
