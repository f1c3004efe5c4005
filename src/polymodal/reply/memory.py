"""The empathy memory: which voice and which face a listener has, and what takes their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polymodal.core import DataError
from polymodal.reply.dialogue import Conversation, Turn
from polymodal.reply.face.portrait import Portrait, cut_portrait, drawn_portrait, read_portrait

FRAME = 1
"""Number of the frame of a listener's video that is their portrait; the very first is often a fade."""


class Memory:
    """Assets by conversation and listener; what is missing is replaced by a default, and said so.

    Args:
        model: face landmarker, None where there is none.
        portrait: picture of the listener of all conversations.
        reference: recording of the voice of the listener of all conversations.
        consent: whether those whose faces and voices are used have agreed.
    """

    def __init__(
        self, model: Path | None, portrait: Path | None = None, reference: Path | None = None, *, consent: bool = False
    ) -> None:
        self._model, self._portrait, self._reference, self._consent = model, portrait, reference, consent
        self._faces: dict[tuple[str, str], tuple[Portrait, list[str]]] = {}

    def voice(self, conversation: Conversation, turn: Turn, notes: list[str]) -> Path | None:
        """Return a recording of the listener, the latest one of ``turn``; None for the voice as it is."""
        if self._reference is not None:
            return self._reference
        found = _latest(conversation, turn, (".wav",))
        if found is not None and self._consent:
            return found
        who = f"the listener of {conversation.id}"
        why = "is not used without --consent" if found else "is not there"
        notes.append(f"a recording of {who} {why}: the reply has the voice as it is")
        return None

    def face(self, conversation: Conversation, turn: Turn, notes: list[str]) -> Portrait | None:
        """Return a portrait of the listener, the drawn face in its place; None where no landmarker is there."""
        if self._model is None:
            return None
        key = (conversation.id, conversation.listener.id)
        if key not in self._faces:
            told: list[str] = []
            self._faces[key] = (self._found(conversation, turn, self._model, told), told)
        portrait, told = self._faces[key]
        notes.extend(told)
        return portrait

    def _found(self, conversation: Conversation, turn: Turn, model: Path, notes: list[str]) -> Portrait:
        if self._portrait is not None:
            return read_portrait(self._portrait, model)
        who = f"the listener of {conversation.id}"
        video = _latest(conversation, turn, (".mp4",))
        if video is None:
            missing = "no portrait was given" if conversation.folder is None else f"a portrait of {who} is not there"
            notes.append(f"{missing}: a drawn face, nobody's, takes its place")
        elif not self._consent:
            notes.append(f"a portrait of {who} is not used without --consent: a drawn face, nobody's, takes its place")
        else:
            try:
                return cut_portrait(_frame(video), model, video.name)
            except DataError as error:
                notes.append(f"{error}: a drawn face, nobody's, takes its place")
        return drawn_portrait(model)


def _latest(conversation: Conversation, turn: Turn, endings: tuple[str, ...]) -> Path | None:
    """Return the latest media file of the listener in the history of ``turn``."""
    for index in range(len(turn.history) - 1, -1, -1):
        if turn.history[index].role == "listener":
            for ending in endings:
                if found := conversation.media(index, conversation.listener, ending):
                    return found
    return None


def _frame(video: Path) -> Any:
    from itertools import islice

    from polymodal.media.clip.decode import Media
    from polymodal.media.types import Frame

    with Media(video) as media:
        frames = [p for p in islice(media.pieces(audio=False), FRAME + 1) if isinstance(p, Frame)]
    if not frames:
        raise DataError(f"{video.name} has no picture")
    return frames[-1].image
