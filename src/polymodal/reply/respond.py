"""E3RG (Lin et al., ACM Multimedia 2025, arXiv 2508.12854): understand, remember, respond; nothing is trained.

The predicted emotion is the one symbol that joins the stages. Content comes from the writer, identity from the memory,
emotion from the label. Departures from the paper: the emotion also conditions the writer and the voice (in the paper's
code it reaches the face only); the reply is spoken, not the history; without a large model words or a run name the
emotion and a bank of exchanges replies; a large model is told words alone, and its answer is read in any case, by whole
words; without heavy generators a small voice speaks and the mesh of the portrait is bent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.predict.files import write_whole
from polymodal.reply.dialogue import Conversation, Turn
from polymodal.reply.face.portrait import Portrait
from polymodal.reply.heads import Head
from polymodal.reply.labels import SCORED, SHOWN
from polymodal.reply.manner import MANNERS
from polymodal.reply.memory import Memory
from polymodal.reply.stages import Stage, digest_of
from polymodal.reply.understand import Understanding
from polymodal.reply.voice.speech import SYNTHETIC, Sound, Speech, Voice, read_wav, write_wav
from polymodal.reply.write import Writer

Converter = Callable[[Path, Path, Path], None]
"""Gives a recording the tone colour of another: (recording, reference, where to write)."""


@dataclass(frozen=True)
class Parts:
    """Who does what.

    Attributes:
        understanding: names the emotion.
        writer: writes the reply.
        voice: speaks it; None: it stays text.
        head: films it; None: no video.
        memory: voices and faces of listeners.
        convert: tone colour, and what results call it; None: the voice stays as it is.
    """

    understanding: Understanding
    writer: Writer
    voice: Voice | None
    head: Head | None
    memory: Memory
    convert: tuple[Converter, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return their names."""
        voice = self.voice
        return {
            "emotion": self.understanding.name,
            "reply": self.writer.name,
            "voice": {"name": voice.name, "version": voice.version, "licence": voice.licence} if voice else None,
            "tone": self.convert[1] if self.convert else None,
            "face": self.head.name if self.head else None,
        }


def respond(
    conversations: Sequence[Conversation],
    parts: Parts,
    out: Path,
    *,
    consent: Sequence[str] = (),
    notes: Sequence[str] = (),
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Reply to every turn and return what is written to ``reply.json``.

    Args:
        out: folder; what is there from the same input is kept.
        consent: what was agreed to, one entry each.
        notes: sentences on how parts were chosen.
        progress: called before each part begins; may raise to break off.

    Raises:
        DataError, RunError: of the parts.
    """
    stages = {name: Stage(out, name) for name in ("understood", "written", "spoken", "filmed")}
    turns = [_Reply(c, t, parts, out, stages, progress).made() for c in conversations for t in c.turns]
    told = [*notes, *(n for c in conversations for n in c.notes)]
    found = {
        "synthetic": SYNTHETIC,
        "consent": {"given": bool(consent), "for": list(consent)},
        "parts": parts.to_dict(),
        "turns": turns,
        "notes": list(dict.fromkeys(told)),
    }
    import json

    content = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(out / "reply.json", content.encode())
    return found


class _Reply:
    """One turn on its way through the stages."""

    def __init__(
        self,
        conversation: Conversation,
        turn: Turn,
        parts: Parts,
        out: Path,
        stages: dict[str, Stage],
        progress: Callable[[], None],
    ) -> None:
        self.conversation, self.turn, self.parts, self.out, self.stages = conversation, turn, parts, out, stages
        self.key, self.name = f"{conversation.id}/{turn.id}", conversation.name(turn)
        self.progress = progress
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}

    def made(self) -> dict[str, Any]:
        felt = self._timed("emotion", self._felt)
        written = self._timed("reply", lambda: self._written(felt["label"]))
        shown = SHOWN[felt["label"]]
        row = {
            "conversation": self.conversation.id,
            "turn": self.turn.id,
            "said": self.turn.said,
            "emotion": {**felt, "coarse": SCORED[felt["label"]], "shown": shown},
            "response": written["text"],
            "why": written["why"],
            "speech": None,
            "video": None,
        }
        if self.parts.voice is not None:
            row["speech"] = self._timed("voice", lambda: self._spoken(written["text"], shown))
            portrait = self._timed("portrait", self._portrait) if self.parts.head else None
            if portrait is not None:
                row["video"] = self._timed("face", lambda: self._filmed(row["speech"], portrait, shown))
        return {**row, "notes": self.notes, "seconds": self.seconds}

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:
        self.progress()
        began = time.perf_counter()
        found = work()
        self.seconds[stage] = round(time.perf_counter() - began, 3)
        return found

    def _felt(self) -> dict[str, Any]:
        """One emotion per conversation: that of its last turn."""
        last = self.conversation.turns[-1]
        clip = digest_of(last.clip) if last.clip else ""
        inputs = [self.parts.understanding.version, last.written(), last.doubtful, clip]
        return self.stages["understood"].result(
            self.key, inputs, lambda: asdict(self.parts.understanding.feel(self.conversation, last))
        )

    def _written(self, label: str) -> dict[str, Any]:
        inputs = [self.parts.writer.version, self.turn.written(), self.turn.doubtful, label]
        return self.stages["written"].result(
            self.key, inputs, lambda: asdict(self.parts.writer.write(self.conversation, self.turn, label))
        )

    def _spoken(self, text: str, shown: str) -> dict[str, Any]:
        voice, manner, file = self.parts.voice, MANNERS[shown], f"{self.name}.wav"
        assert voice is not None
        reference = None
        if self.parts.convert is not None:
            reference = self.parts.memory.voice(self.conversation, self.turn, self.notes)
        tone = [self.parts.convert[1], digest_of(reference)] if self.parts.convert and reference else []
        about = {"rate": manner.rate, "pitch": manner.pitch, "energy": manner.energy}

        def work() -> dict[str, Any]:
            speech = voice.say(text, manner)
            self.out.mkdir(parents=True, exist_ok=True)
            write_wav(self.out / file, speech)
            if self.parts.convert is not None and reference is not None:
                speech = self._converted(speech, self.parts.convert[0], reference, self.out / file)
            sounds = [[s.ipa, round(s.start, 4), round(s.end, 4)] for s in speech.sounds]
            return {"file": file, "seconds": round(speech.seconds, 3), **about, "tone": bool(tone), "sounds": sounds}

        return self.stages["spoken"].result(self.key, [voice.version, text, about, tone], work, [file])

    def _converted(self, speech: Speech, convert: Converter, reference: Path, wav: Path) -> Speech:
        """Return speech with the tone colour of ``reference``, its sounds where they are in what came back."""
        made = wav.with_name(f".{wav.stem}.tone.wav")
        try:
            convert(wav, reference, made)
            samples, rate = read_wav(made)
        finally:
            made.unlink(missing_ok=True)
        factor = len(samples) / rate / speech.seconds
        sounds = tuple(Sound(s.ipa, s.start * factor, s.end * factor) for s in speech.sounds)
        changed = replace(speech, samples=samples, rate=rate, sounds=sounds)
        write_wav(wav, changed)
        return changed

    def _portrait(self) -> Portrait | None:
        return self.parts.memory.face(self.conversation, self.turn, self.notes)

    def _filmed(self, spoken: dict[str, Any], portrait: Portrait, shown: str) -> dict[str, Any]:
        head, file = self.parts.head, f"{self.name}.mp4"
        assert head is not None
        wav = self.out / spoken["file"]

        def work() -> dict[str, Any]:
            samples, rate = read_wav(wav)
            speech = Speech(samples, rate, tuple(Sound(*sound) for sound in spoken["sounds"]))
            head.film(speech, portrait, shown, self.out / file)
            return {"file": file, "portrait": portrait.name, "sha256": portrait.digest, "emotion": shown}

        inputs = [getattr(head, "line", head.name), digest_of(wav), portrait.digest, shown, asdict(MANNERS[shown])]
        return self.stages["filmed"].result(self.key, inputs, work, [file])
