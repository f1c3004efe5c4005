"""Parts that record what they are asked for, and dialogues to ask about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.reply.dialogue import Conversation, Line, Profile, Turn
from polymodal.reply.face.portrait import Portrait
from polymodal.reply.manner import Manner
from polymodal.reply.voice.speech import Sound, Speech, finished


def _talk(*said: str, name: str = "7", number: int = 0) -> Conversation:
    roles = ["speaker" if (len(said) - k) % 2 else "listener" for k in range(len(said))]
    lines = tuple(Line(r, t) for r, t in zip(roles, said, strict=True))  # type: ignore[arg-type]
    return Conversation(name, Profile("12"), Profile("34"), (Turn(number, "", lines),))


class Says:
    """A voice: a tone, as long as the text."""

    name, version, licence = "tone", "tone 1", "none"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Manner]] = []

    def say(self, text: str, manner: Manner) -> Speech:
        self.asked.append((text, manner))
        seconds = 0.05 * len(text.split()) / manner.rate
        times = np.arange(int(seconds * 16_000)) / 16_000
        tone = np.sin(2 * np.pi * 220 * manner.pitch * times).astype(np.float32)
        return finished(tone, 16_000, [Sound("m", 0.0, seconds / 2), Sound("a", seconds / 2, seconds)], manner)


class Films:
    """A head that writes who said what how."""

    name = "notebook"

    def __init__(self) -> None:
        self.asked: list[tuple[Speech, Portrait, str]] = []

    def film(self, speech: Speech, portrait: Portrait, emotion: str, out: Path) -> None:
        self.asked.append((speech, portrait, emotion))
        out.write_text(json.dumps([portrait.name, emotion]))


class Remembers:
    """A memory of one portrait."""

    def __init__(self) -> None:
        self.portrait = Portrait(np.zeros((8, 8, 3), np.uint8), np.zeros((468, 2)), "nobody", "0", False)

    def voice(self, *_: Any) -> None:
        return None

    def face(self, *_: Any) -> Portrait:
        return self.portrait


Talk = Callable[..., Conversation]


@pytest.fixture
def talk() -> Talk:
    """``talk("...", "...")``: a conversation of one turn; its people take turns, the speaker says the last line."""
    return _talk


@pytest.fixture
def says() -> Says:
    return Says()


@pytest.fixture
def films() -> Films:
    return Films()


@pytest.fixture
def remembers() -> Remembers:
    return Remembers()


@pytest.fixture
def make_json(tmp_path: Path) -> Callable[[Any], Path]:
    """Returns a function that writes plain data, or text, to ``talk.json``."""

    def write(data: Any) -> Path:
        file = tmp_path / "talk.json"
        file.write_text(data if isinstance(data, str) else json.dumps(data))
        return file

    return write


@pytest.fixture
def model(shared: Path) -> Path:
    """The face landmarker."""
    pytest.importorskip("mediapipe")
    return shared / "models" / "face_landmarker.task"
