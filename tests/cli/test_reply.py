"""``polymodal reply``: what it prints, and one sentence for what cannot be replied to."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def _clips() -> Any:
    place = Path(__file__).parents[1] / "media" / "clips.py"
    specification = importlib.util.spec_from_file_location("reply_clips", place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dialogue, in a working folder of its own, where no encoder is installed."""
    monkeypatch.setattr("polymodal.reply.bank.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "talk.json"
    file.write_text(json.dumps({"dialogue_history": [{"role": "speaker", "utterance": "I am so proud of my son."}]}))
    return file


def test_a_dialogue_is_replied_to(talk: Path, call: Any) -> None:
    called = call("reply", talk, "--voice", "none")
    assert called.code == 0, called.err
    for words in (
        "said: I am so proud of my son.",
        "felt: proud (the words say so: proud)",
        "reply: ",
        "no large model",
    ):
        assert words in called.err
    stored = json.loads((talk.parent / "reply/reply.json").read_text())
    assert stored["turns"][0]["emotion"]["coarse"] == "happy"
    assert stored["synthetic"].startswith("Synthetic")
    assert stored["consent"] == {"given": False, "for": []}
    again = call("reply", talk, "--voice", "none", "--json", "--emotion", "sad")
    assert again.json["turns"][0]["emotion"]["label"] == "sad"


def test_what_cannot_be_replied_to_is_one_sentence(talk: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (talk.parent / "bad.json").write_text("{")
    (talk.parent / "bad.mp4").write_bytes(b"no clip")
    for source, words in (
        ("none.mp4", "there is no file none.mp4"),
        (".", "is a folder; name one clip"),
        ("bad.json", "bad.json is no JSON"),
        ("bad.mp4", "bad.mp4"),
    ):
        assert words in call("reply", source, "--voice", "none").sentence
    assert "has no clip" in call("reply", talk, "--voice", "none", "--run", "voice-emotion").sentence


def test_clips_in_which_nobody_speaks(talk: Path, call: Any) -> None:
    pytest.importorskip("faster_whisper")
    clips = _clips()
    clips.write_clip(talk.parent / "silent.wav", samples=np.zeros((1, 16_000), np.float32))
    clips.write_clip(talk.parent / "mute.mp4", audio=None)
    assert "nobody speaks in silent.wav" in call("reply", "silent.wav", "--voice", "none").sentence
    assert "mute.mp4 has no sound" in call("reply", "mute.mp4", "--voice", "none").sentence


@pytest.mark.slow
def test_another_language_is_told_and_not_taken_at_its_words(talk: Path, call: Any, shared: Path) -> None:
    pytest.importorskip("faster_whisper")
    files = sorted((shared / "data/emodb/audio").glob("*.flac"))[:40:8]
    doubted = 0
    for file in files:
        found = call("reply", file, "--voice", "none", "--json", "--out", file.stem).json
        notes = [note for note in found["notes"] if "doubtful" in note or "no word" in note]
        doubted += bool(notes)
        if notes:
            assert "too doubtful" in found["turns"][0]["why"]
            assert found["turns"][0]["emotion"]["label"] == "neutral"
    assert doubted >= 3


@pytest.mark.slow
def test_a_real_clip_gets_text_speech_and_video(talk: Path, shared: Path) -> None:
    for module in ("espeakng_loader", "mediapipe", "faster_whisper"):
        pytest.importorskip(module)
    clip = shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg"
    command = [sys.executable, "-m", "polymodal", "reply", clip, "--voice", "espeak", "--json"]
    command += ["--assets", shared / "models"]
    called = subprocess.run(command, capture_output=True, text=True, check=False)  # five libraries in C: alone
    assert called.returncode == 0, called.stderr
    found = json.loads(called.stdout)
    [turn] = found["turns"]
    assert "two" in turn["said"].lower() or "2" in turn["said"]
    assert (talk.parent / "reply" / turn["speech"]["file"]).stat().st_size > 10_000
    assert (talk.parent / "reply" / turn["video"]["file"]).stat().st_size > 10_000
    assert any("a drawn face, nobody's" in note for note in turn["notes"])
    assert set(turn["seconds"]) == {"emotion", "reply", "voice", "portrait", "face"}
    assert "GPL" in found["parts"]["voice"]["licence"]
