"""Praat TextGrids (www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html), long and short form."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from polymodal.core import DataError
from polymodal.media.types import Segment, Word
from polymodal.media.words.turns import checked, grouped

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)|<(exists|absent)>|!.*')
"""Strings, numbers that stand alone, the flag, comments; in the long form, everything else explains these."""

SILENCES = frozenset({"", "sil", "sp", "spn", "<eps>", "<p:>", "<sil>", "#"})
WORDS, SOUNDS = re.compile(r"word|^ort-mau$", re.IGNORECASE), re.compile(r"phon|syll|^(kan-)?mau$", re.IGNORECASE)


class _Token(NamedTuple):
    line: int
    text: str | None
    number: float | None


@dataclass(frozen=True)
class _Tier:
    name: str
    spoken: list[Word]

    @property
    def speaker(self) -> str:
        """``Ann`` of the tier ``Ann - words``, as forced aligners call it."""
        return self.name.rpartition(" - ")[0]


def read_textgrid(text: str, name: str) -> list[Segment]:
    """Return the intervals that have text, unordered.

    Tiers named after words (``words``, ``Ann - words``, ``ORT-MAU``) hold words, those named after sounds are left
    out, all others hold phrases; a word belongs to the phrase around its middle. Without phrases, words are grouped at
    pauses. With several phrase tiers, their names are the speakers.

    Raises:
        DataError: anything that a TextGrid must not have; names the line.
    """
    tiers = [t for t in _tiers(text, name) if not SOUNDS.search(t.name)]
    words = [t for t in tiers if WORDS.search(t.name)]
    phrases = [t for t in tiers if not WORDS.search(t.name)]
    if not any(t.spoken for t in phrases):
        return [s for t in words for s in grouped(t.spoken, t.speaker)]
    segments = []
    for tier in phrases:
        speaker = tier.name if len(phrases) > 1 else ""
        near = [w for t in words if t.speaker in ("", tier.name) or not speaker for w in t.spoken]
        for phrase in tier.spoken:
            inside = tuple(w for w in near if phrase.start <= (w.start + w.end) / 2 < phrase.end)
            segments.append(Segment(phrase.start, phrase.end, phrase.text, inside, speaker))
    return segments


def _tiers(text: str, name: str) -> Iterator[_Tier]:
    """Yield the interval tiers; points have no duration and are left out."""
    tokens = _Reader(text, name)
    if tokens.text("the file type") != "ooTextFile" or tokens.text("the class") != "TextGrid":
        raise DataError(f"{name}, line 1: expected a Praat TextGrid in text form; save it with Save as text file")
    tokens.number("the start"), tokens.number("the end")
    for _ in range(tokens.count("the number of tiers") if tokens.flag() else 0):
        kind, title = tokens.text("the kind of a tier"), tokens.text("the name of a tier")
        tokens.number("the start of a tier"), tokens.number("the end of a tier")
        spoken = []
        for _ in range(tokens.count("the number of intervals")):
            start = tokens.number("a time")
            end = tokens.number("a time") if kind == "IntervalTier" else start
            where = tokens.where
            label = " ".join(tokens.text("a label").split())
            if label.lower() not in SILENCES:
                spoken.append(Word(label, *checked(where, start, end)))
        if kind == "IntervalTier":
            yield _Tier(title, spoken)


class _Reader:
    """Hands out strings and numbers in turn."""

    def __init__(self, text: str, name: str) -> None:
        self._name, self._line = name, 1
        self._tokens = self._scan(text)

    def _scan(self, text: str) -> Iterator[_Token]:
        line, seen = 1, 0
        for match in TOKEN.finditer(text):
            line, seen = line + text.count("\n", seen, match.start()), match.start()
            string, number, flag = match.groups()
            if string is not None:
                yield _Token(line, string.replace('""', '"'), None)
            elif number is not None or flag:
                yield _Token(line, None, float(number) if number else float(flag == "exists"))

    @property
    def where(self) -> str:
        return f"{self._name}, line {self._line}"

    def _next(self, what: str) -> _Token:
        token = next(self._tokens, None)
        if token is None:
            raise DataError(f"{self._name} ends after line {self._line}, expected {what}; the file is incomplete")
        self._line = token.line
        return token

    def text(self, what: str) -> str:
        token = self._next(what)
        if token.text is None:
            raise DataError(f"{self.where}: expected {what} in double quotes, found {token.number}")
        return token.text

    def number(self, what: str) -> float:
        token = self._next(what)
        if token.number is None or not math.isfinite(token.number):
            found = repr(token.number if token.text is None else token.text[:60])
            raise DataError(f"{self.where}: expected {what} as a number, found {found}")
        return token.number

    def count(self, what: str) -> int:
        number = self.number(what)
        if number < 0 or number != int(number):
            raise DataError(f"{self.where}: expected {what}, found {number:g}")
        return int(number)

    def flag(self) -> bool:
        token = self._next("<exists>")
        return token.number == 1.0
