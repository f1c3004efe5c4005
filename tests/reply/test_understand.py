"""What the speaker feels, by a run or a cascade, and what is said of a clip in which nobody can be heard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError, OptionError, Target
from polymodal.media.extraction import AS_RECORDED, Recogniser
from polymodal.predict.timeline import Estimate, Moment, Timeline
from polymodal.reply.heard import listen
from polymodal.reply.understand import ByRun

MOOD = Target("mood", "classification", classes=("anger", "joy", "bored"))


class Cascade:
    """Knows what it will say, and keeps how it was opened."""

    name, targets = "cascade", (MOOD,)

    def __init__(self, *said: tuple[float, Estimate]) -> None:
        ends = np.cumsum([length for length, _ in said])
        self.moments = tuple(
            Moment(float(end) - length, float(end), (), {"mood": estimate})
            for end, (length, estimate) in zip(ends, said, strict=True)
        )
        self.opened: dict[str, Any] = {}

    def open(self, run: str, **options: Any) -> Cascade:
        self.opened = options
        return self

    def predict(self, clip: Path) -> Timeline:
        return Timeline(clip.name, 1.0, self.name, "u-acs", (), (MOOD,), self.moments)


def named(label: str) -> Estimate:
    """What a service says: a class, and nothing more."""
    return Estimate(None, {}, label=label)


def sure(**probabilities: float) -> Estimate:
    return Estimate(None, {}, label=max(probabilities, key=lambda n: probabilities[n]), probabilities=probabilities)


@pytest.fixture
def clip(talk: Any, tmp_path: Path) -> Any:
    conversation = talk("Hello.")
    return replace(conversation, turns=(replace(conversation.turns[0], clip=tmp_path / "a.mp4"),))


@pytest.mark.parametrize(
    ("said", "label", "why"),
    [
        ([(1.0, sure(anger=0.7, joy=0.3, bored=0.0)), (2.0, named("joy"))], "happy", "0.77"),
        ([(2.0, sure(anger=0.7, joy=0.3, bored=0.0)), (1.0, named("joy"))], "happy", "0.53"),
        ([(4.0, sure(anger=0.7, joy=0.3, bored=0.0)), (1.0, named("joy"))], "angry", "0.56"),
        ([(1.0, named("no such feeling"))], "neutral", "none of the emotions"),
    ],
)
def test_a_cascade_names_the_emotion_by_length_and_probability(
    said: list[tuple[float, Estimate]], label: str, why: str, clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade, recogniser = Cascade(*said), Recogniser("small", "en")
    monkeypatch.setattr("polymodal.cascade.opened.open_predictor", cascade.open)
    by = ByRun("runs/cascade", assets="assets", recogniser=recogniser)
    felt = by.feel(clip, clip.turns[0])
    assert (felt.label, by.name) == (label, "cascade cascade")
    assert why in felt.why
    assert cascade.opened == {"assets": "assets", "recogniser": recogniser}


def test_another_cascade_or_recogniser_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polymodal.cascade.opened.open_predictor", Cascade().open)
    found = []
    for content in ("{}", '{"rule": 1}'):
        (tmp_path / "cascade.json").write_text(content)
        found.append(ByRun(str(tmp_path)).version)
    found.append(ByRun(str(tmp_path), recogniser=Recogniser("small", "en")).version)
    assert len(set(found)) == 3, "its words may be others, too"


def test_who_tells_no_emotions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cascade = Cascade()
    cascade.targets = (replace(MOOD, classes=("a", "b", "c")),)
    monkeypatch.setattr("polymodal.cascade.opened.open_predictor", cascade.open)
    with pytest.raises(OptionError, match="tells no emotions"):
        ByRun("runs/cascade")


def test_a_clip_that_is_cut_off_is_not_called_silent_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    found = (SimpleNamespace(only=None), "by a stub")
    monkeypatch.setattr("polymodal.reply.heard.find_transcriber", lambda wanted: found)
    clip = tmp_path / "upload.mkv"
    with av.open(str(clip), "w") as opened:
        line = opened.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for second in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), "s16", "mono")
            frame.rate, frame.pts = 16_000, second * 16_000
            opened.mux(line.encode(frame))
        opened.mux(line.encode(None))
    with pytest.raises(DataError, match=r"^nobody speaks in me.mkv; give a clip in which somebody does$"):
        listen(clip, AS_RECORDED, name="me.mkv")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(DataError, match=r"^nobody speaks in me.mkv; .* \(.*me.mkv promises 4.0 s but only"):
        listen(clip, AS_RECORDED, name="me.mkv")
