"""From options to parts: who understands, writes, speaks and films, and what must be agreed to before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polymodal.cascade.chat import Chat, open_chat
from polymodal.core import DataError, OptionError
from polymodal.media.extraction import AS_RECORDED, Recogniser
from polymodal.reply.dialogue import Conversation, read_dialogues
from polymodal.reply.respond import Converter, Parts, respond

SHOTS = 3


@dataclass(frozen=True)
class Wanted:
    """How to reply.

    Attributes:
        portrait: picture of the listener.
        voice: ``auto``, ``piper``, ``espeak``, a voice of Piper (.onnx), ``none``.
        run: a run or a cascade that names the emotion of clips.
        judge: a large model: ``file:answers.jsonl`` or ``http``.
        emotion: a label that is told instead.
        shots: examples that a large model is shown.
        tone: command, or function, that gives speech the tone colour of ``reference``.
        reference: recording of the listener's voice.
        face: command that films; default the mesh of the portrait, bent.
        consent: whether those whose faces and voices are used have agreed.
        assets: folder with models that no package carries.
        recogniser: of speech.
        within: seconds that asking a service about one clip may take, where a cascade names the emotion.
    """

    portrait: str | None = None
    voice: str = "auto"
    run: str | None = None
    judge: str | None = None
    emotion: str | None = None
    shots: int = SHOTS
    tone: str | Converter | None = None
    reference: str | None = None
    face: str | None = None
    consent: bool = False
    assets: str | None = None
    recogniser: Recogniser = AS_RECORDED
    within: float = math.inf


def reply(source: str | Path, out: str | Path, wanted: Wanted | None = None) -> dict[str, Any]:
    """Reply to a clip or to dialogues, and return what is written to ``reply.json`` in ``out``.

    Args:
        source: a clip in which somebody speaks, or a JSON file of dialogues.
        wanted: how; default as ``Wanted``.

    Raises:
        DataError: the source cannot be read, or nobody speaks in it.
        OptionError: a part that cannot be had, or consent that is not given.
        RunError: a command or a large model that failed.
    """
    wanted, path = wanted or Wanted(), Path(source)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name one clip, or a JSON file of dialogues")
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    agreed = _agreed(wanted)
    conversations = _conversations(path, wanted)
    parts, notes = build(wanted)
    return respond(conversations, parts, Path(out), consent=agreed, notes=notes)


def _agreed(wanted: Wanted) -> list[str]:
    """Return what consent is given for; OptionError where it is needed and not given."""
    from polymodal.reply.stages import digest_of

    for told, file in (("--portrait", wanted.portrait), ("--reference", wanted.reference)):
        if file and not Path(file).is_file():
            raise DataError(f"{told} names {file}, which does not exist; check the path")
    if wanted.reference and not wanted.tone:
        raise OptionError("--reference needs --tone, a command that gives speech its tone colour; give both or neither")
    needs = {"--portrait": wanted.portrait, "--reference": wanted.reference, "--tone": wanted.tone}
    asked = [name for name, value in needs.items() if value]
    if asked and not wanted.consent:
        raise OptionError(
            f"{asked[0]} needs --consent: give it only if the person whose face or voice it is has agreed to a "
            "synthetic video"
        )
    if not wanted.consent:
        return []
    given = (("--portrait", wanted.portrait), ("--reference", wanted.reference))
    files = [f"{n} {Path(f).name}, sha256 {digest_of(Path(f))}" for n, f in given if f]
    return files or ["faces and voices that lie beside the dialogues"]


def _conversations(path: Path, wanted: Wanted) -> list[Conversation]:
    if path.suffix.lower() == ".json":
        return read_dialogues(path)
    from polymodal.reply.heard import listen

    return [listen(path, wanted.recogniser, wanted.assets)]


def build(wanted: Wanted) -> tuple[Parts, list[str]]:
    """Return the parts, and a sentence on each that was chosen or is missing.

    Raises:
        OptionError: as ``reply``.
    """
    from polymodal.reply.bank import Nearest
    from polymodal.reply.understand import AsTold, ByRun, ByWords, Understanding
    from polymodal.reply.understand import ByChat as Judged
    from polymodal.reply.voice.find import find_voice
    from polymodal.reply.write import ByBank, ByChat, Writer, bank_examples

    if sum(bool(x) for x in (wanted.run, wanted.emotion)) > 1:
        raise OptionError("--run and --emotion both say what is felt; give one of them")
    chat: Chat | None = open_chat(wanted.judge) if wanted.judge else None
    nearest = Nearest() if chat is None else None
    writer: Writer = ByBank(nearest) if nearest else ByChat(chat, bank_examples(), wanted.shots)  # type: ignore[arg-type]
    understanding: Understanding
    if wanted.emotion:
        understanding = AsTold(wanted.emotion)
    elif wanted.run:
        understanding = ByRun(wanted.run, assets=wanted.assets, recogniser=wanted.recogniser, within=wanted.within)
    elif chat is not None:
        understanding = Judged(chat, bank_examples(), wanted.shots)
    else:
        assert nearest is not None
        understanding = ByWords(nearest)
    voice, sentence = find_voice(wanted.voice)
    notes = [sentence]
    if chat is None:
        notes.append("no large model was asked: the reply is one of a bank, chosen by what was said and felt")
    memory, head = _faces(wanted, notes, spoken=voice is not None)
    return Parts(understanding, writer, voice, head, memory, _tone(wanted)), notes


def _faces(wanted: Wanted, notes: list[str], *, spoken: bool) -> tuple[Any, Any]:
    """Return the memory and who films; None where nobody can, with a sentence."""
    from polymodal.media.assets import find_face_model
    from polymodal.reply.heads import Bent, ByCommand
    from polymodal.reply.memory import Memory

    model = None
    if spoken and find_spec("mediapipe") is None:
        notes.append("there is no video: faces need MediaPipe (pip install 'polymodal[reply]')")
    elif spoken:
        try:
            model = find_face_model(wanted.assets)
        except DataError as error:
            if wanted.portrait:
                raise
            notes.append(f"there is no video: {error}")
    else:
        notes.append("without a voice there is no video")
    portrait, reference = (Path(f) if f else None for f in (wanted.portrait, wanted.reference))
    memory = Memory(model, portrait, reference, consent=wanted.consent)
    if model is None:
        return memory, None
    return memory, ByCommand(wanted.face) if wanted.face else Bent()


def _tone(wanted: Wanted) -> tuple[Converter, str] | None:
    from polymodal.reply.adapter import Command

    if wanted.tone is None:
        return None
    if not isinstance(wanted.tone, str):
        return wanted.tone, getattr(wanted.tone, "__name__", "function")
    places = ("wav", "reference", "out")
    command = Command("--tone", wanted.tone, places, places)
    return lambda wav, reference, out: command.run({"wav": wav, "reference": reference, "out": out}), command.line
