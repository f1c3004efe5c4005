"""Dialogues: who said what to whom; read from JSON in the layout of AvaMERG, written as a model is told them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from polymodal.core import DataError

Role = Literal["speaker", "listener"]
ROLES: tuple[Role, ...] = ("speaker", "listener")


@dataclass(frozen=True)
class Profile:
    """Who speaks or listens: ``id`` is part of the names of files, the rest is text as it was given."""

    id: str
    age: str = ""
    gender: str = ""
    timbre: str = ""


@dataclass(frozen=True)
class Line:
    """One utterance."""

    role: Role
    utterance: str


@dataclass(frozen=True)
class Turn:
    """What the listener is to reply to.

    Attributes:
        id: number of the turn.
        context: the situation, where it is known.
        history: at least one line; the last one is what is replied to.
        emotion: what the speaker feels, where somebody says so.
        clip: file with the last line, if there is one.
        doubtful: the words of the last line are hardly to be believed, or not English.
    """

    id: int
    context: str
    history: tuple[Line, ...]
    emotion: str = ""
    clip: Path | None = None
    doubtful: bool = False

    @property
    def said(self) -> str:
        """The last thing that the speaker said."""
        return next((line.utterance for line in reversed(self.history) if line.role == "speaker"), "")

    def written(self) -> str:
        """Return the dialogue as text: the context, then a line per utterance."""
        lines = [f"{line.role.capitalize()}: {line.utterance}" for line in self.history]
        return "\n".join([f"Dialogue context: {self.context}", *lines] if self.context else lines)


@dataclass(frozen=True)
class Conversation:
    """Turns of the same two people.

    Attributes:
        folder: where its media files are, if there are any.
    """

    id: str
    speaker: Profile
    listener: Profile
    turns: tuple[Turn, ...]
    folder: Path | None = None
    notes: list[str] = field(default_factory=list, compare=False)

    def name(self, turn: Turn) -> str:
        """Return what files of the reply to ``turn`` are called, without ending."""
        return f"dia{self.id}turn{turn.id}_{self.listener.id}_gen"

    def media(self, index: int, profile: Profile, ending: str) -> Path | None:
        """Return the file of utterance ``index``, said by ``profile``; None where there is none."""
        file = self.folder / f"dia{self.id}utt{index}_{profile.id}{ending}" if self.folder else None
        return file if file and file.is_file() else None


def read_dialogues(path: Path) -> list[Conversation]:
    """Return the conversations of a JSON file: one object, or a list of them.

    Of a conversation, ``conversation_id``, ``speaker_profile``, ``listener_profile`` and ``turns`` are read; of a turn
    ``turn_id``, ``context``, ``dialogue_history`` and ``chain_of_empathy``. A conversation of one turn may have that
    turn's fields itself. Files beside it called as AvaMERG calls them are its media.

    Raises:
        DataError: the file cannot be read, or what is in it is no dialogue; names the place.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from None
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); give a conversation or a list of them") from None
    rows = found if isinstance(found, list) else [found]
    if not rows:
        raise DataError(f"{path} has no conversation; give at least one")
    conversations = [_conversation(row, f"{path}, conversation {n}", n, path.parent) for n, row in enumerate(rows, 1)]
    names = [c.id for c in conversations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two conversations {twice!r}; give each its own conversation_id")
    return conversations


def _conversation(row: Any, place: str, number: int, folder: Path) -> Conversation:
    row = _object(row, place)
    rows = row.get("turns", [row] if "dialogue_history" in row else None)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{place} has no turns; give turns, each with a dialogue_history")
    turns = tuple(_turn(t, f"{place}, turn {k}", k) for k, t in enumerate(rows))
    ids = [turn.id for turn in turns]
    if twice := [i for i in ids if ids.count(i) > 1]:
        raise DataError(f"{place} has two turns {twice[0]}; give each its own turn_id")
    name = str(row.get("conversation_id", number))
    if not name.replace("-", "").replace("_", "").isalnum():
        raise DataError(f"{place}: {name!r} cannot be part of a file's name; use letters, digits, - and _")
    return Conversation(
        name,
        _profile(row.get("speaker_profile", {}), f"{place}, speaker_profile", "speaker"),
        _profile(row.get("listener_profile", {}), f"{place}, listener_profile", "listener"),
        _with_clips(turns, row, name, folder),
        folder,
    )


def _with_clips(turns: tuple[Turn, ...], row: dict[str, Any], name: str, folder: Path) -> tuple[Turn, ...]:
    """Return ``turns``, each with the file of its last line where there is one."""
    from dataclasses import replace

    told = []
    for turn in turns:
        profile = row.get(f"{turn.history[-1].role}_profile", {}).get("ID", turn.history[-1].role)
        stem = f"dia{name}utt{len(turn.history) - 1}_{profile}"
        clip = next((f for e in (".mp4", ".wav") if (f := folder / f"{stem}{e}").is_file()), None)
        told.append(replace(turn, clip=clip))
    return tuple(told)


def _profile(row: Any, place: str, usual: str) -> Profile:
    row = _object(row, place)
    name = str(row.get("ID", usual))
    if not name.replace("-", "").replace("_", "").isalnum():
        raise DataError(f"{place}: the ID {name!r} cannot be part of a file's name; use letters, digits, - and _")
    return Profile(name, *(str(row.get(key, "")) for key in ("age", "gender", "timbre")))


def _turn(row: Any, place: str, number: int) -> Turn:
    row = _object(row, place)
    history = row.get("dialogue_history")
    if not isinstance(history, list) or not history:
        raise DataError(f"{place} has no dialogue_history; give at least one utterance with a role")
    lines = tuple(_line(line, f"{place}, utterance {k}") for k, line in enumerate(history))
    if not any(line.role == "speaker" for line in lines):
        raise DataError(f"{place}: the speaker says nothing; give at least one utterance with the role speaker")
    chain = row.get("chain_of_empathy")
    told = chain.get("speaker_emotion", "") if isinstance(chain, dict) else ""
    turn_id = row.get("turn_id", number)
    if isinstance(turn_id, bool) or not str(turn_id).isdigit():
        raise DataError(f"{place}: turn_id must be a whole number, got {turn_id!r}")
    return Turn(int(turn_id), str(row.get("context", "")), lines, str(told).lower())


def _line(row: Any, place: str) -> Line:
    row = _object(row, place)
    role, said = row.get("role"), row.get("utterance")
    if role not in ROLES or not isinstance(said, str) or not said.strip():
        raise DataError(f"{place} must have a role (speaker or listener) and an utterance, got {str(row)[:80]}")
    return Line(role, " ".join(said.split()))


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{place} must be a JSON object, got {str(row)[:40]!r}")
    return row
