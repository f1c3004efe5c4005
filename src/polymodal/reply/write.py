"""The reply in words: by a large model, or the nearest exchange of the bank."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from polymodal.core import RunError
from polymodal.reply.bank import bank, filled, general
from polymodal.reply.dialogue import Conversation, Turn
from polymodal.reply.labels import SCORED
from polymodal.reply.prompt import Example, chosen_examples, reply_messages
from polymodal.reply.understand import question

if TYPE_CHECKING:
    from polymodal.cascade.chat import Chat
    from polymodal.reply.bank import Nearest

LONGEST = 600
"""Characters of a reply that are spoken: two or three sentences have 200."""


@dataclass(frozen=True)
class Written:
    """A reply, and a sentence on what it rests on."""

    text: str
    why: str


class Writer(Protocol):
    """Who writes the reply.

    Attributes:
        name: what results call it.
        version: changes with what it writes.
    """

    name: str
    version: str

    def write(self, conversation: Conversation, turn: Turn, emotion: str) -> Written:
        """Return the reply to ``turn``, whose speaker feels ``emotion``."""
        ...


class ByBank:
    """The reply of the nearest exchange among those whose emotion has the same coarse class, slots filled; a general
    one of that class where none is near."""

    def __init__(self, nearest: Nearest) -> None:
        self._nearest = nearest
        how = "MiniLM" if nearest.by == "minilm" else "TF-IDF"
        self.name = self.version = f"bank of {len(bank())} exchanges, nearest by {how}"

    def write(self, conversation: Conversation, turn: Turn, emotion: str) -> Written:
        """See ``Writer``."""
        if turn.said and not turn.doubtful:
            found = self._nearest.find(turn.said, emotion)
            if found.exchange:
                why = f"the bank's reply to {found.exchange.said!r} (cosine {found.similarity:.2f})"
                return Written(filled(found.exchange.reply, turn), why)
            why = f"no {SCORED[emotion]} exchange of the bank is near, so a general reply was taken"
        else:
            why = "the words are too doubtful to look for an exchange, so a general reply was taken"
        replies = general(SCORED[emotion])
        return Written(replies[zlib.crc32(f"{conversation.id}/{turn.written()}".encode()) % len(replies)], why)


class ByChat:
    """A large model, shown ``shots`` of ``examples`` and told the emotion."""

    def __init__(self, chat: Chat, examples: Sequence[Example], shots: int) -> None:
        self._chat, self._examples, self._shots = chat, examples, shots
        self.name = f"large model {chat.name}"
        self.version = f"large model {chat.version}, {shots} examples"

    def write(self, conversation: Conversation, turn: Turn, emotion: str) -> Written:
        """See ``Writer``.

        Raises:
            RunError: the answer is empty.
        """
        shown = chosen_examples(self._examples, conversation, turn, self._shots)
        answer = self._chat.ask(question(conversation, turn), "reply", reply_messages(turn, emotion, shown))
        text = " ".join(answer.split()).strip('"')
        for prefix in ("Listener:", "listener:"):
            text = text.removeprefix(prefix).strip()
        if not text:
            raise RunError(
                f"{self.name} answered nothing to {question(conversation, turn)}; ask again, or leave it out"
            )
        if len(text) > LONGEST:
            cut = text[:LONGEST]
            text = cut[: max(cut.rfind(mark) for mark in ".?!") + 1] or f"{cut.rpartition(' ')[0]}."
        return Written(text, f"{self.name} wrote it")


def bank_examples() -> list[Example]:
    """Return the exchanges of the bank as examples for a large model."""
    return [Example(f"Speaker: {e.said}", e.emotion, filled(e.reply, _bare(e.said))) for e in bank()]


def _bare(said: str) -> Turn:
    from polymodal.reply.dialogue import Line

    return Turn(0, "", (Line("speaker", said),))
