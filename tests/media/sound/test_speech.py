"""Speech activity: whatever the pieces, whoever else listens, silero's own rules."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import cache
from itertools import cycle, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.core import OptionError
from polymodal.media.sound import speech
from polymodal.media.sound.speech import BLOCK, PAD, PAUSE, SHORTEST, STEP, SpeechActivity, Stretches
from polymodal.media.types import RATE, Samples

PROBABILITIES = st.lists(
    st.tuples(st.sampled_from((0.01, 0.2, 0.4, 0.6, 0.99)), st.integers(1, 30)).map(lambda run: [run[0]] * run[1]),
    max_size=25,
).map(lambda runs: [p for run in runs for p in run])


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Importing silero_vad sets torch's threads to 1; other tests shall not notice."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@cache
def sound(path: Path) -> np.ndarray:
    """Return a file's audio as mono float32 at RATE."""
    with av.open(str(path)) as container:
        resample = av.AudioResampler("flt", "mono", RATE).resample
        frames = [f for frame in container.decode(audio=0) for f in resample(frame)] + resample(None)
    return np.concatenate([f.to_ndarray()[0] for f in frames])


@pytest.fixture(scope="session")
def talk(shared: Path) -> np.ndarray:
    """Five utterances with their silences, 15 s."""
    return np.concatenate([sound(p) for p in sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg"))])


def heard(values: np.ndarray, *, start: float = 0.0, pieces: int = 10**9, longest: float = 15.0):
    """Return (start, end) of all stretches, the audio pushed in pieces of that many samples."""
    activity = SpeechActivity(longest)
    found = []
    for first in range(0, len(values), pieces):
        found += activity.push(Samples(start + first / RATE, values[first : first + pieces]))
    return [(s.start, s.end) for s in found + activity.finish()]


def stretches(probabilities: list[float], *, longest: float = math.inf, end: float | None = None):
    turn = Stretches(longest)
    found = [s for p in probabilities for s in turn.push(p)]
    return found + turn.finish(len(probabilities) * STEP if end is None else end)


@given(PROBABILITIES)
def test_probabilities_become_the_stretches_that_silero_makes_of_them(probabilities):
    from silero_vad import get_speech_timestamps_from_probs

    theirs = get_speech_timestamps_from_probs(
        probabilities, min_silence_duration_ms=1000 * PAUSE, speech_pad_ms=1000 * PAD, min_speech_duration_ms=250
    )
    total = len(probabilities) * STEP
    ours = [(max(0.0, a), min(b, total)) for a, b in stretches(probabilities)]
    assert ours == [pytest.approx((t["start"] / RATE, t["end"] / RATE)) for t in theirs]


@pytest.mark.parametrize("kind", ["grid", "emodb"])
def test_real_clips_give_the_segments_of_silero_within_one_window(shared, kind):
    from silero_vad import get_speech_timestamps, load_silero_vad

    model = load_silero_vad(onnx=True)
    folder, pattern = {"grid": ("grid_av_speech", "clips_*/*.mpg"), "emodb": ("emodb/audio", "*.flac")}[kind]
    paths = sorted((shared / "data" / folder).glob(pattern))[:11]
    assert paths
    for path in paths:
        values = sound(path)
        theirs = get_speech_timestamps(
            torch.from_numpy(values), model, min_silence_duration_ms=400, speech_pad_ms=100, return_seconds=False
        )
        ours = heard(values)
        assert len(ours) == len(theirs), path.name
        for (start, end), their in zip(ours, theirs, strict=True):
            assert start == pytest.approx(their["start"] / RATE, abs=STEP), path.name
            assert end == pytest.approx(their["end"] / RATE, abs=STEP), path.name


def test_segments_cover_the_spoken_words_and_little_of_the_silence_around_them(shared):
    inside = words = beside = silence = 0.0
    for path in sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg")):
        found = heard(sound(path))
        for line in path.with_suffix(".align").read_text().splitlines():
            first, last, word = line.split()
            start, end = int(first) / 25_000, int(last) / 25_000
            covered = sum(max(0.0, min(b, end) - max(a, start)) for a, b in found)
            if word == "sil":
                silence, beside = silence + end - start, beside + covered
            else:
                words, inside = words + end - start, inside + covered
    assert inside >= 0.8 * words
    assert beside < 0.35 * silence


@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.sampled_from((100, 511, 512, 513, 2048, 5000, 40_000)), min_size=1, max_size=6))
def test_how_audio_is_cut_into_pieces_changes_nothing(talk, sizes):
    whole = heard(talk, start=2.5)
    assert len(whole) >= 3
    activity, found, first = SpeechActivity(), [], 0
    for size in cycle(sizes):
        found += activity.push(Samples(2.5 + first / RATE, talk[first : first + size]))
        first += size
        if first >= len(talk):
            break
    found += activity.finish()
    assert [(s.start, s.end) for s in found] == whole


def test_two_listeners_do_not_disturb_each_other(talk, shared):
    other = sound(sorted((shared / "data/emodb/audio").glob("*.flac"))[0])
    a, b, found = SpeechActivity(), SpeechActivity(), []
    for first in range(0, len(talk), 3000):
        found += a.push(Samples(first / RATE, talk[first : first + 3000]))
        b.push(Samples(first / RATE, other[first : first + 3000]))
    assert [(s.start, s.end) for s in found + a.finish()] == heard(talk)


def test_times_are_those_of_the_clip(talk):
    late = heard(talk, start=100.25)
    assert late == [pytest.approx((a + 100.25, b + 100.25)) for a, b in heard(talk)]


def test_what_is_missing_between_pieces_is_silence(talk):
    hole = np.zeros(30_000, np.float32)
    activity = SpeechActivity()
    found = activity.push(Samples(0, talk[:20_000]))
    found += activity.push(Samples(50_000 / RATE, talk[20_000:]))
    expected = heard(np.concatenate([talk[:20_000], hole, talk[20_000:]]))
    assert [(s.start, s.end) for s in found + activity.finish()] == expected


def test_what_is_heard_twice_is_taken_once(talk):
    activity = SpeechActivity()
    found = activity.push(Samples(0, talk[:20_000]))
    found += activity.push(Samples(10_000 / RATE, talk[10_000:]))
    assert [(s.start, s.end) for s in found + activity.finish()] == heard(talk)


def test_clocks_that_tremble_leave_no_holes(talk):
    activity, found = SpeechActivity(), []
    for i, first in enumerate(range(0, len(talk), 1600)):
        found += activity.push(Samples(first / RATE + (0.004, -0.004)[i % 2], talk[first : first + 1600]))
    moved = [(a + 0.004, b + 0.004) for a, b in heard(talk)]
    assert [(s.start, s.end) for s in found + activity.finish()] == [pytest.approx(m) for m in moved]


def test_values_that_are_no_numbers_do_not_deafen_it(talk):
    broken = talk.copy()
    broken[1000:1100] = np.nan
    broken[1200] = np.inf
    quiet = talk.copy()
    quiet[1000:1100] = 0
    quiet[1200] = 1
    assert heard(broken) == heard(quiet) != []


@pytest.mark.parametrize("seconds", [0, 0.001, 0.2, 5])
def test_silence_has_no_segments(seconds):
    assert heard(np.zeros(round(seconds * RATE), np.float32)) == []


def test_nothing_heard_is_nothing_found():
    activity = SpeechActivity()
    assert activity.open_since is None
    assert activity.finish() == []


def test_the_running_stretch_is_known_before_it_ends_and_starts_where_its_segment_will(talk):
    activity, since, found = SpeechActivity(), [], []
    delay = (BLOCK + 1) * STEP
    for first in range(0, len(talk), 256):
        before = activity.open_since
        found += activity.push(Samples(first / RATE, talk[first : first + 256]))
        if activity.open_since is not None and before is None:
            since.append(activity.open_since)
            assert activity.open_since >= (first + 256) / RATE - delay - PAD
    found += activity.finish()
    assert activity.open_since is None
    assert {s.start for s in found} <= set(since)


def test_a_long_stretch_is_cut_where_its_first_pause_after_longest_is_deepest():
    second = round(1 / STEP)
    talk, pause = [0.9] * second, [0.3, 0.02, 0.3, 0.3, 0.3]
    found = stretches([*talk, *pause, *talk, *talk, *pause, *talk, *pause, *talk], longest=2.0)
    cut = (3 * second + 6) * STEP
    assert found[0] == (-PAD, pytest.approx(cut))
    assert found[1][0] == pytest.approx(cut)
    assert len(found) == 2


def test_a_stretch_without_pauses_is_cut_after_twice_longest_where_speech_was_least_probable():
    probabilities = [0.9] * 500
    probabilities[20], probabilities[80] = 0.4, 0.6
    found = stretches(probabilities, longest=2.0)
    assert found[0] == (-PAD, pytest.approx(80 * STEP))
    assert max(b - a for a, b in found) <= 4.0 + PAD + STEP


@given(PROBABILITIES, st.floats(1, 3))
def test_cutting_loses_no_more_than_stretches_too_short_to_count(probabilities, longest):
    total = len(probabilities) * STEP
    whole, cut = stretches(probabilities), stretches(probabilities, longest=longest)
    ends = [0.0, *(x for a, b in cut for x in (a + PAD, b))]
    assert all(a <= b for a, b in zip(ends[1::2], ends[2::2], strict=True))
    assert all(b <= a for (_, b), (a, _) in pairwise(cut))  # no overlap
    assert all(SHORTEST <= b - a <= 2 * longest + 2 * PAD + STEP for a, b in cut)
    for a, b in whole:
        kept = sum(max(0.0, min(b, d) - max(a, c)) for c, d in cut)
        assert kept >= min(b, total) - a - 2 * PAD - SHORTEST - STEP


def test_real_speech_is_cut_in_the_pauses_between_sentences(shared):
    clips = [sound(p) for p in sorted((shared / "data/emodb/audio").glob("*.flac"))[:8]]
    values = np.concatenate(clips)
    joints = np.cumsum([len(c) for c in clips]) / RATE
    whole, found = heard(values, longest=60), heard(values, longest=2.0)
    assert max(b - a for a, b in whole) > 6
    assert max(b - a for a, b in found) <= 4 + 2 * PAD + STEP
    cuts = [a for (_, b), (a, _) in pairwise(found) if a == b]
    assert cuts
    assert sum(min(abs(joints - c)) < 0.3 for c in cuts) > len(cuts) / 2


def test_listening_is_far_faster_than_speaking(talk):
    heard(talk)
    began = time.process_time()
    heard(np.tile(talk, 2), pieces=1024)
    assert (time.process_time() - began) < 2 * len(talk) / RATE / 100


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(speech, "find_spec", lambda name: None)
    speech._network.cache_clear()
    with pytest.raises(OptionError, match=r"pip install -U 'polymodal\[media\]'"):
        SpeechActivity()
    speech._network.cache_clear()


def test_the_network_is_named():
    assert SpeechActivity().version.startswith("silero-vad 6")
