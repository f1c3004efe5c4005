"""Recognisers: which one is chosen and why, and words at the times at which they are spoken."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import create_autospec

import av
import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.media.sound.speech import SpeechActivity
from polymodal.media.types import RATE, Samples, Word
from polymodal.media.words import transcribe, weights
from polymodal.media.words.transcribe import FasterWhisper, PocketSphinx, find_transcriber


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's weights nor the network."""
    monkeypatch.delenv("POLYMODAL_WHISPER", raising=False)
    monkeypatch.delenv("POLYMODAL_ASSETS", raising=False)
    monkeypatch.setattr(weights, "_from_hub", lambda: "the hub is out of reach")


@pytest.fixture(scope="module")
def sphinx() -> PocketSphinx:
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
    return [sphinx.transcribe(values, start) for values, start, _ in speech]


def spoken(model_words, **info):
    """Return a WhisperModel that hears ``model_words``; its methods accept what the real one's accept."""
    from faster_whisper import WhisperModel

    model = create_autospec(WhisperModel, instance=True)
    segments = [
        SimpleNamespace(words=[SimpleNamespace(word=w, start=a, end=b) for w, a, b in ws]) for ws in model_words
    ]
    model.transcribe.side_effect = lambda *args, **options: (iter(segments), SimpleNamespace(language="en"))
    return model


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(round(seconds * RATE)) * level).astype(np.float32)


def test_words_of_whisper_are_moved_to_where_their_sound_starts():
    model = spoken([[(" Never", 0.1, 0.4), (" gonna,", 0.4, 0.7)], [(" ", 0.7, 0.8), (" give", 0.9, 1.3)]])
    words = FasterWhisper(model, "tiny").transcribe(noise(1.2), 10.0)
    assert [w.text for w in words] == ["Never", "gonna,", "give"]
    assert [(w.start, w.end) for w in words] == [pytest.approx(t) for t in ((10.1, 10.4), (10.4, 10.7), (10.9, 11.2))]


def test_whisper_is_asked_for_word_times_and_nothing_random():
    model = spoken([[("a", 0, 1)]])
    FasterWhisper(model, "tiny").transcribe(noise(1), 0.0)
    options = model.transcribe.call_args.kwargs
    assert (options["word_timestamps"], options["temperature"], options["beam_size"]) == (True, 0.0, 1)
    assert options["condition_on_previous_text"] is False


def test_a_segment_of_whisper_without_words_gives_none():
    model = spoken([[]])
    model.transcribe.side_effect = lambda *a, **k: (iter([SimpleNamespace(words=None)]), None)
    assert FasterWhisper(model, "tiny").transcribe(noise(1), 0.0) == ()


@pytest.mark.parametrize(
    "samples", [np.zeros(0), np.zeros(RATE), np.full(RATE, np.nan), noise(1, 1e-6), noise(0.05)], ids=str
)
def test_nothing_to_hear_gives_no_words_and_asks_nobody(samples, sphinx):
    model = spoken([[("you", 0, 1)]])
    assert FasterWhisper(model, "tiny").transcribe(samples, 3.0) == ()
    model.transcribe.assert_not_called()
    assert sphinx.transcribe(samples, 3.0) == ()


@pytest.mark.parametrize("seconds", [0.1, 0.13, 0.3, 1.0])
def test_sounds_that_are_no_speech_do_no_harm(sphinx, seconds, capfd):
    for word in sphinx.transcribe(noise(seconds), 5.0):
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
        assert sphinx.transcribe(*speech[i][:2]) == heard[i]
    assert PocketSphinx().transcribe(*speech[4][:2]) == heard[4]


def test_two_threads_get_what_each_would_get_alone(sphinx, speech, heard):
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda s: sphinx.transcribe(*s[:2]), speech[:3])) == heard[:3]


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


def test_given_and_none_are_no_recognisers():
    assert find_transcriber("given") == (None, "text is taken from given transcripts only")
    assert find_transcriber("none") == (None, "text is left out")


def test_auto_falls_back_to_pocketsphinx_and_says_why():
    found, sentence = find_transcriber("auto")
    assert found is not None
    assert found.name == "pocketsphinx"
    assert sentence.startswith(f"speech is transcribed by {found.version} because faster-whisper has no weights")
    assert "the hub is out of reach" in sentence


def test_auto_without_any_recogniser_is_none_with_the_reasons(monkeypatch):
    monkeypatch.setattr(transcribe, "find_spec", lambda name: None)
    found, sentence = find_transcriber("auto")
    assert found is None
    assert "faster-whisper is not installed" in sentence
    assert "pip install 'polymodal[media]'" in sentence


def test_a_recogniser_asked_for_by_name_must_be_there(monkeypatch):
    with pytest.raises(OptionError, match=r"no weights.*POLYMODAL_WHISPER.*text=auto"):
        find_transcriber("faster-whisper")
    monkeypatch.setattr(transcribe, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pocketsphinx is not installed"):
        find_transcriber("pocketsphinx")
    with pytest.raises(OptionError, match="did you mean 'pocketsphinx'"):
        find_transcriber("pocketsphynx")


def weighty(folder):
    folder.mkdir(parents=True)
    for name in weights.NEEDED:
        (folder / name).write_bytes(b"{}")
    return folder


def test_weights_are_found_where_the_user_put_them(tmp_path, monkeypatch):
    assets = tmp_path / "assets"
    model = weighty(assets / "whisper-small")
    assert weights.find_weights(assets) == model
    assert weights.find_weights(model) == model
    monkeypatch.setenv("POLYMODAL_ASSETS", str(assets))
    assert weights.find_weights() == model
    own = weighty(tmp_path / "own")
    monkeypatch.setenv("POLYMODAL_WHISPER", str(own))
    assert weights.find_weights(assets) == own
    (own / "tokenizer.json").unlink()
    with pytest.raises(OptionError, match=r"own, which has no tokenizer\.json"):
        weights.find_weights()


def test_an_incomplete_model_among_the_assets_is_passed_over(tmp_path):
    (weighty(tmp_path / "a") / "tokenizer.json").unlink()
    assert "the hub is out of reach" in weights.find_weights(tmp_path)
    assert weights.find_weights(tmp_path / "missing") == weights.find_weights()


def test_found_weights_are_loaded_and_named(tmp_path, monkeypatch):
    import faster_whisper

    loaded = {}
    monkeypatch.setattr(faster_whisper, "WhisperModel", lambda folder, **options: loaded.update({folder: options}))
    model = weighty(tmp_path / "models--Systran--faster-whisper-base" / "snapshots" / "0123456789abcdef")
    monkeypatch.setenv("POLYMODAL_WHISPER", str(model))
    found, sentence = find_transcriber("auto")
    assert isinstance(found, FasterWhisper)
    assert sentence.endswith("(Systran/faster-whisper-base 01234567)")
    assert loaded == {str(model): {"device": "cpu", "compute_type": "int8", "cpu_threads": 1}}


def test_broken_weights_are_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMODAL_WHISPER", str(weighty(tmp_path / "broken")))
    with pytest.raises(OptionError, match=r"broken cannot be read .* text=pocketsphinx"):
        find_transcriber("auto")


def test_a_hub_out_of_reach_is_asked_once(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.undo()  # the real _from_hub
    asked = []

    def refuse(url: str, timeout: float) -> None:
        asked.append((url, timeout))
        raise OSError("no route to host")

    monkeypatch.setattr(weights, "urlopen", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("POLYMODAL_WHISPER", raising=False)
    monkeypatch.delenv("POLYMODAL_ASSETS", raising=False)
    weights._from_hub.cache_clear()
    assert weights.find_weights() == weights.find_weights()
    assert "no route to host" in weights.find_weights()
    assert asked == [(f"{constants.ENDPOINT}/api/models/{weights.REPOSITORY}", weights.PATIENCE)]
    weights._from_hub.cache_clear()


def test_weights_in_the_hubs_cache_need_no_network(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.undo()
    owner, name = weights.REPOSITORY.split("/")
    place = tmp_path / f"models--{owner}--{name}"
    model = weighty(place / "snapshots" / ("0" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "urlopen", lambda *a, **k: pytest.fail("asked the network"))
    weights._from_hub.cache_clear()
    assert weights._from_hub() == model
    weights._from_hub.cache_clear()
