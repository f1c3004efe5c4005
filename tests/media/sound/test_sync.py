"""The clock between two recordings, on real speech whose word times are known."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from polymodal.core import DataError
from polymodal.media.sound.audio import Acoustic
from polymodal.media.sound.sync import estimate_clock
from polymodal.media.types import RATE, Track, Word
from polymodal.media.words.align import align_to_words


@cache
def heard(path: Path):
    """Sound of a clip at RATE, mono."""
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path)) as container:
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray()[0] for part in parts + resampler.resample(None)])


def spoken(path: Path, start: float = 0.0):
    """True words of a clip; ``.align`` counts in 1/25000 s."""
    rows = (line.split() for line in path.with_suffix(".align").read_text().splitlines())
    return [Word(w, start + int(a) / 25000, start + int(b) / 25000) for a, b, w in rows if w not in ("sil", "sp")]


@pytest.fixture(scope="module")
def scene(shared: Path):
    """Five clips one after the other: sound and true words."""
    torch.set_num_threads(1)
    clips = sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg"))
    starts = np.cumsum([0.0] + [len(heard(p)) / RATE for p in clips])
    words = [word for path, start in zip(clips, starts, strict=False) for word in spoken(path, float(start))]
    return np.concatenate([heard(p) for p in clips]), words


def recorded(sound, offset, drift, level=0.5, noise=0.002):
    """What a second recorder keeps: started ``offset`` later, its clock off by ``drift``, quieter, with own noise."""
    instants = offset + (1 + drift) * np.arange(int((len(sound) / RATE - offset) / (1 + drift) * RATE)) / RATE
    copy = np.interp(instants, np.arange(len(sound)) / RATE, sound, left=0, right=0)
    return (level * copy + noise * np.random.default_rng(0).standard_normal(len(copy))).astype(np.float32)


@cache
def acoustic(features):
    return Acoustic(features)


def described(sound, features="logmel"):
    return acoustic(features).describe(sound, 0.0)


@pytest.mark.parametrize(
    ("features", "offset", "drift"),
    [
        ("logmel", -0.4, 0.0),
        ("logmel", -0.1, 0.0),
        ("logmel", 0.0, 0.0),
        ("logmel", 0.25, 0.0),
        ("logmel", 0.4, 0.0),
        ("logmel", 0.0, 0.005),
        ("logmel", 0.3, -0.01),
        ("logmel", -0.4, 0.02),
        ("logmel", 0.4, -0.02),
        ("egemaps", -0.4, -0.02),
        ("egemaps", 0.4, 0.01),
    ],
)
def test_the_clock_brings_every_word_back_within_20_ms(scene, features, offset, drift):
    sound, words = scene
    clock = estimate_clock(described(sound, features), described(recorded(sound, offset, drift), features))
    true = np.array([(w.start, w.end) for w in words])
    observed = (true - offset) / (1 + drift)
    assert np.abs(clock.at(observed) - true).max() < 0.02


def test_a_large_drift_in_noise_costs_less_than_a_step(scene):
    """Within one step of 10 ms; one pass, whose windows are smeared by 4 % of their length, is off by 20 to 80 ms."""
    sound, words = scene
    times = np.array([w.start for w in words])
    for drift in (-0.04, 0.04):
        clock = estimate_clock(described(sound), described(recorded(sound, 0.2, drift, noise=0.01)))
        assert np.abs(clock.at((times - 0.2) / (1 + drift)) - times).max() < 0.01


@pytest.mark.parametrize("offset", [-0.4, 0.4])
def test_one_clip_of_three_seconds_is_enough(shared: Path, offset):
    for path in sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg")):
        true = np.array([(w.start, w.end) for w in spoken(path)])
        clock = estimate_clock(described(heard(path)), described(recorded(heard(path), offset, 0.005)))
        assert np.abs(clock.at((true - offset) / 1.005) - true).max() < 0.02


def test_aligned_after_the_clock_equals_aligned_at_the_source(scene):
    """A drifting second recorder gives each true word the features that the first one gives it; without clock not."""
    sound, words = scene
    here, there = described(sound), described(recorded(sound, 0.4, 0.02, level=1.0, noise=0.0))
    expected = align_to_words(here, words)
    scale = here.values.std(axis=0)
    repaired = align_to_words(estimate_clock(here, there).apply(there), words)
    wrong = align_to_words(there, words)
    near, far = (np.abs(x - expected)[:, :40].mean() / scale[:40].mean() for x in (repaired, wrong))
    assert near < 0.15
    assert far > 4 * near


def test_aligned_features_are_the_means_inside_true_words(scene):
    sound, words = scene
    track = described(sound)
    aligned = align_to_words(track, words)
    for word, row in zip(words, aligned, strict=True):
        inside = track.values[(track.times >= word.start) & (track.times < word.end)]
        np.testing.assert_allclose(row, inside.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("offset", [-0.4, 0.0, 0.4])
def test_words_are_found_in_the_envelope_of_loudness(scene, offset):
    """True words and energy are two envelopes of one activity; speech is loudest early in a word, hence the bias."""
    sound, words = scene
    loudness = described(recorded(sound, offset, 0.0), "egemaps")
    times = np.arange(0, len(sound) / RATE, 0.01)
    active = sum(((times >= w.start) & (times < w.end)).astype(np.float32) for w in words)
    clock = estimate_clock(Track(times, active[:, None]), Track(loudness.times, loudness.values[:, :1]), max_offset=0.6)
    assert clock.offset == pytest.approx(offset, abs=0.08)


def test_speech_is_inside_the_words(scene):
    sound, words = scene
    track = described(sound, "egemaps")
    inside = align_to_words(track, words)[:, 0].mean()
    pauses = [Word("", a.end, b.start) for a, b in pairwise(words) if b.start - a.end > 0.2]
    assert len(pauses) == 4
    assert inside > 4 * align_to_words(track, pauses)[:, 0].mean()


def test_recordings_of_different_scenes_have_no_clock(scene, shared: Path):
    sound, _ = scene
    others = sorted((shared / "data/emodb/audio").glob("*.flac"))[:6]
    other = np.concatenate([heard(p) for p in others])
    for stranger in (other, np.zeros(10 * RATE, np.float32), recorded(0 * sound, 0, 0, noise=0.1)):
        with pytest.raises(DataError, match="agree on no clock"):
            estimate_clock(described(sound), described(stranger))


def test_too_short_too_coarse_or_different_features_are_named():
    steps = Track(np.arange(300) / 100, np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32))
    with pytest.raises(DataError, match="2 features and the other 1"):
        estimate_clock(steps, Track(steps.times, steps.values[:, :1]))
    for short in (Track(steps.times[:50], steps.values[:50]), Track(steps.times[:0], steps.values[:0])):
        with pytest.raises(DataError, match="too short"):
            estimate_clock(steps, short)
    coarse = Track(steps.times[::50], steps.values[::50])
    with pytest.raises(DataError, match="too few"):
        estimate_clock(coarse, coarse)
