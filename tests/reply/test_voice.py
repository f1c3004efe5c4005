"""Voices: what is said can be understood again, and its manner follows the emotion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.reply.manner import MANNERS, Manner
from polymodal.reply.metrics import word_error_rate
from polymodal.reply.voice.find import find_voice
from polymodal.reply.voice.speech import Sound, Speech, Voice, finished, higher, read_wav, write_wav

TEXT = "I am so sorry. Would you like to tell me about him?"


def _voice(name: str) -> Voice:
    pytest.importorskip({"piper": "piper", "espeak": "espeakng_loader"}[name])
    voice, sentence = find_voice(name)
    assert voice is not None
    assert "licences: " in sentence
    assert "GPL-3.0-or-later" in sentence
    return voice


def _height(speech: Speech) -> float:
    size, found = int(0.04 * speech.rate), []
    for at in range(0, len(speech.samples) - size, size):
        part = speech.samples[at : at + size]
        alike = np.correlate(part - part.mean(), part - part.mean(), "full")[size - 1 :]
        low, high = int(speech.rate / 300), int(speech.rate / 60)
        best = low + int(alike[low:high].argmax())
        if alike[0] > 0.5 and alike[best] > 0.6 * alike[0]:
            found.append(speech.rate / best)
    return float(np.median(found))


def _words(text: str) -> list[str]:
    return [word.strip(".,?!").lower() for word in text.split()]


@pytest.mark.parametrize("name", ["espeak", pytest.param("piper", marks=pytest.mark.slow)])
def test_rate_pitch_and_energy_follow_the_manner(name: str) -> None:
    voice = _voice(name)
    glad, low = voice.say(TEXT, MANNERS["happy"]), voice.say(TEXT, MANNERS["sad"])
    assert low.seconds > 1.05 * glad.seconds
    assert _height(glad) > 1.04 * _height(low)
    assert glad.samples.std() > 1.1 * low.samples.std()
    assert max(np.abs(glad.samples).max(), np.abs(low.samples).max()) <= 0.96
    for speech in (glad, low):
        ends = np.array([(s.start, s.end) for s in speech.sounds])
        assert (ends[:, 1] > ends[:, 0]).all()
        assert (ends[1:, 0] >= ends[:-1, 1] - 1e-6).all()
        assert 0.15 < ends[0, 0] < 0.6
        assert speech.seconds - 0.9 < ends[-1, 1] <= speech.seconds
        assert {s.ipa[0] for s in speech.sounds} >= {"m", "s", "t"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["espeak", "piper"])
def test_what_is_said_is_understood_again(name: str) -> None:
    pytest.importorskip("faster_whisper")
    from scipy.signal import resample_poly

    from polymodal.media.words.transcribe import Wanted, find_transcriber

    transcriber, _ = find_transcriber(Wanted())
    assert transcriber is not None
    speech = _voice(name).say(TEXT, MANNERS["sad"])
    heard = transcriber.transcribe(resample_poly(speech.samples, 320, 441).astype(np.float32), 0.0)
    assert word_error_rate(_words(TEXT), _words(" ".join(w.text for w in heard.words))) <= 0.2


def test_where_sounds_are_there_is_sound() -> None:
    speech = _voice("espeak").say("Mama. Papa.", Manner())
    times = np.arange(len(speech.samples)) / speech.rate
    in_vowel = np.any([(s.start <= times) & (times < s.end) for s in speech.sounds if s.ipa[0] in "aɑɐ"], axis=0)
    in_none = ~np.any([(s.start <= times) & (times < s.end) for s in speech.sounds], axis=0)
    assert speech.samples[in_vowel].std() > 5 * speech.samples[in_none].std()


def test_a_faster_reading_is_higher_and_its_sounds_move_along() -> None:
    times = np.arange(16_000) / 16_000
    tone = Speech(np.sin(2 * np.pi * 100 * times).astype(np.float32), 16_000, (Sound("a", 0.2, 0.8),))
    found = higher(tone, 1.25)
    assert found.seconds == pytest.approx(0.8, abs=0.01)
    assert (found.sounds[0].start, found.sounds[0].end) == pytest.approx((0.16, 0.64))
    assert _height(found) == pytest.approx(125, rel=0.02)
    assert higher(tone, 1.0) is tone


def test_what_cannot_be_spoken() -> None:
    with pytest.raises(DataError, match="nothing that can be spoken"):
        finished(np.zeros(100, np.float32), 16_000, [], Manner())
    with pytest.raises(DataError, match="nothing that can be spoken"):
        _voice("espeak").say("...", Manner())


def test_a_recording_comes_back_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("av")
    values = np.random.default_rng(0).uniform(-0.9, 0.9, 4001).astype(np.float32)
    write_wav(tmp_path / "a.wav", Speech(values, 22_050, ()))
    found, rate = read_wav(tmp_path / "a.wav")
    assert rate == 22_050
    assert found == pytest.approx(values, abs=1e-4)
    (tmp_path / "b.wav").write_text("no sound")
    with pytest.raises(DataError, match="is no sound"):
        read_wav(tmp_path / "b.wav")


def test_voices_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("piper", "espeak"):
        monkeypatch.setattr(f"polymodal.reply.voice.{module}.find_spec", lambda name: None)
    assert find_voice("auto")[0] is None
    assert find_voice("none") == (None, "the reply is not spoken, as asked")
    (tmp_path / "v.onnx").touch()
    for spec in ("piper", "espeak", str(tmp_path / "v.onnx")):
        with pytest.raises(OptionError, match=r"needs .*; pip install 'polymodal\[reply\]'"):
            find_voice(spec)


@pytest.mark.slow
def test_a_file_that_is_no_voice(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    (tmp_path / "v.onnx").write_text("no network")
    (tmp_path / "v.onnx.json").write_text("{}")
    with pytest.raises(OptionError, match="is no voice of Piper"):
        find_voice(str(tmp_path / "v.onnx"))
