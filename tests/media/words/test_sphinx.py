"""PocketSphinx: words at the times at which they are spoken, whatever was heard before."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest

from polymodal.media.sound.speech import SpeechActivity
from polymodal.media.types import RATE, Samples, Word
from polymodal.media.words.sphinx import PocketSphinx


@pytest.fixture(scope="module")
def sphinx() -> PocketSphinx:
    pytest.importorskip("pocketsphinx")
    return PocketSphinx()


@pytest.fixture(scope="module")
def speech(shared):
    """Return, of five clips, what was found to be speech, when it starts, and its true words."""
    found = []
    for path in sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg")):
        with av.open(str(path)) as container:
            resample = av.AudioResampler("flt", "mono", RATE).resample
            frames = [f for frame in container.decode(audio=0) for f in resample(frame)] + resample(None)
        values = np.concatenate([f.to_ndarray()[0] for f in frames])
        activity = SpeechActivity()
        (segment,) = activity.push(Samples(0.0, values)) + activity.finish()
        lines = [line.split() for line in path.with_suffix(".align").read_text().splitlines()]
        words = [Word(w, int(a) / 25_000, int(b) / 25_000) for a, b, w in lines if w != "sil"]
        found.append((values[round(segment.start * RATE) : round(segment.end * RATE)], segment.start, words))
    return found


@pytest.fixture(scope="module")
def heard(sphinx, speech):
    """Return what pocketsphinx hears in it, one after the other."""
    return [sphinx.transcribe(values, start).words for values, start, _ in speech]


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(round(seconds * RATE)) * level).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.1, 0.13, 0.3, 1.0])
def test_sounds_that_are_no_speech_do_no_harm(sphinx, seconds, capfd):
    for word in sphinx.transcribe(noise(seconds), 5.0).words:
        assert 5.0 <= word.start < word.end <= 5.0 + seconds + 0.01
    assert capfd.readouterr().err == ""


def test_pocketsphinx_hears_words_where_they_are_spoken(speech, heard):
    hits = []
    for (values, start, words), found in zip(speech, heard, strict=True):
        assert all(re.fullmatch(r"[a-z'.-]+", w.text) for w in found)
        assert all(start <= w.start < w.end <= start + len(values) / RATE + 0.02 for w in found)
        assert found[0].start == pytest.approx(words[0].start, abs=0.35)
        assert found[-1].end == pytest.approx(words[-1].end, abs=0.35)
        hits += [max(abs(f.start - w.start), abs(f.end - w.end)) for f in found for w in words if f.text == w.text]
    assert len(hits) >= 3
    assert np.median(hits) < 0.1


def test_a_transcript_depends_on_nothing_heard_before(sphinx, speech, heard):
    for i in (3, 1):
        assert sphinx.transcribe(*speech[i][:2]).words == heard[i]
    assert PocketSphinx().transcribe(*speech[4][:2]).words == heard[4]


def test_two_threads_get_what_each_would_get_alone(sphinx, speech, heard):
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda s: sphinx.transcribe(*s[:2]).words, speech[:3])) == heard[:3]


def test_other_threads_go_on_while_pocketsphinx_works(sphinx, speech):
    """A decoder that gets all sound in one call stops Python for as long as it works."""
    values = np.concatenate([v for v, *_ in speech[:2]])
    gaps, done = [], threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.002)
            gaps.append(time.perf_counter() - last)
            last += gaps[-1]

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    sphinx.transcribe(values, 0.0)
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    assert max(gaps) < took / 4


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(RATE), np.full(RATE, np.nan), noise(1, 1e-6)], ids=str)
def test_nothing_to_hear_gives_no_words(samples, sphinx):
    assert sphinx.transcribe(samples, 3.0).words == ()
