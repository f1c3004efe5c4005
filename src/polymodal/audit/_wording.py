"""Words put into a text: which, where, and what speaks for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from polymodal.data.ragged import Array

_WORD = re.compile(r"\w+")

RARE, COMMON = 5, 0.1
"""Texts that a word must be in at least, and the share of all texts above which it says too little."""

CANDIDATES, LAST = 10, 3
"""Candidates of a place; words before it that are not said again."""

Weights = tuple[float, float, float]
"""Of fluency, of what is shown, and of the distance of the whole text from what is shown."""


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower case."""
    return [w.lower() for w in _WORD.findall(text)]


@dataclass(frozen=True)
class Put:
    """A word that is put into a text: ``word`` and a space before the letter number ``place`` of the text as it was."""

    place: int
    word: str


def with_words(text: str, put: Sequence[Put]) -> str:
    """Return the text with words in it; ``put`` is in the order of its places."""
    for one in reversed(put):
        text = f"{text[: one.place]}{one.word} {text[one.place :]}"
    return text


def without_words(text: str, put: Sequence[Put]) -> str:
    """Return what ``with_words`` was given."""
    for one in put:
        text = text[: one.place] + text[one.place + len(one.word) + 1 :]
    return text


class Lexicon:
    """What words go before which, and what is seen where they are said, learned from texts with another modality.

    Args:
        texts: of which to learn.
        seen: ``(texts, width)``, the other modality, standardised.
    """

    def __init__(self, texts: Sequence[str], seen: Array) -> None:
        said = [words_of(text) for text in texts]
        having: Counter[str] = Counter(w for words in said for w in set(words))
        self.words = sorted(w for w, n in having.items() if n >= RARE and n <= max(RARE, COMMON * len(texts)))
        self.before: Counter[tuple[str, str]] = Counter()
        self.total: Counter[str] = Counter()
        for words in said:
            self.before.update(pairwise(words))
            self.total.update(words)
        self._everything = sum(self.total.values())
        self._ranked: dict[str, list[str]] = {}
        owners: dict[str, list[int]] = {w: [] for w in self.words}
        for row, words in enumerate(said):
            for w in set(words) & owners.keys():
                owners[w].append(row)
        centre = seen.mean(0) if len(seen) else 0.0
        self.directions: Mapping[str, Array] = {w: seen[rows].mean(0) - centre for w, rows in owners.items()}

    def shown(self, word: str, seen: Array) -> float:
        """Return how far the other modality of a sample shows ``word``: the cosine of ``seen`` and of what goes with
        the word; 0 where nothing is known of it."""
        return _cosine(self.directions[word], seen) if word in self.directions else 0.0

    def fluency(self, word: str, following: str) -> float:
        """Return P(word | following), from pairs of neighbours, smoothed by how often words are said."""
        smooth = self.total[word] / self._everything
        return (self.before[word, following] + smooth) / (self.total[following] + 1)

    def candidates(self, following: str, last: Sequence[str]) -> list[str]:
        """Return the words that most often stand before ``following``: no common ones, none of ``last``, not itself."""
        if following not in self._ranked:
            ranked = sorted(self.words, key=lambda w: (-self.fluency(w, following), w))
            self._ranked[following] = ranked[: CANDIDATES + LAST + 2]
        return [w for w in self._ranked[following] if w != following and w not in last][:CANDIDATES]

    def agreement(self, words: Sequence[str], seen: Array) -> float:
        """Return the cosine of ``seen`` and of the mean direction of all ``words`` known."""
        known = [self.directions[w] for w in words if w in self.directions]
        return _cosine(np.mean(known, axis=0), seen) if known else 0.0


def put_into(text: str, seen: Array, lexicon: Lexicon, weights: Weights, most: int) -> list[Put]:
    """Return words for what ``seen`` shows, each before a word of ``text`` that is shown as well.

    Args:
        weights: see ``scores``.
        most: words at most; the places that are shown most.
    """
    spans = list(_WORD.finditer(text))
    said = [s.group().lower() for s in spans]
    places = [i for i, w in enumerate(said) if lexicon.shown(w, seen) > 0]
    places = sorted(sorted(places, key=lambda i: (-lexicon.shown(said[i], seen), i))[:most])
    put: list[Put] = []
    for i in places:
        so_far = said + [p.word for p in put]
        options = lexicon.candidates(said[i], [*said[max(0, i - LAST) : i], *(p.word for p in put)])
        if not options:
            continue
        fluent = np.array([lexicon.fluency(w, said[i]) for w in options])
        shown = np.array([lexicon.shown(w, seen) for w in options])
        away = np.array([1 - lexicon.agreement([*so_far, w], seen) for w in options])
        put.append(Put(spans[i].start(), options[int(scores(fluent, shown, away, weights).argmax())]))
    return put


def scores(fluent: Array, shown: Array, away: Array, weights: Weights) -> Array:
    """Return what speaks for each candidate: the weighted mean of three values, each brought to 0 .. 1."""
    parts = [w * scaled(x) for w, x in zip(weights, (fluent, shown, away), strict=True)]
    total: Array = np.sum(parts, axis=0) / sum(map(abs, weights))
    return total


def scaled(values: Array) -> Array:
    """Return values from 0, the lowest, to 1, the highest; 1 for all where they are equal."""
    low, high = values.min(), values.max()
    found: Array = (values - low) / (high - low) if high > low else np.ones_like(values, dtype=float)
    return found


def _cosine(x: Array, y: Array) -> float:
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size else 0.0
