"""Words that may be added to a text: what to look for in it, what was said of its like, and what goes with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polymodal.core import numpy_rng
from polymodal.data.ragged import Array

_WORD = re.compile(r"\w[\w'-]*", re.UNICODE)

COMMON = 0.1
"""Share of texts from which on a word says nothing of any."""

LIKE = 3
"""Samples whose words stand for what another modality shows."""


@dataclass(frozen=True)
class Said:
    """The texts of a split, with what else is known of each sample.

    Attributes:
        ids: of the samples.
        texts: one each.
        groups: ``(samples,)``, the same for one speaker or video.
        shown: ``(samples, width)``, all other modalities, pooled; None where text is alone.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    groups: Array
    shown: Array | None

    @cached_property
    def words(self) -> list[list[str]]:
        """Words of each text, in lower case."""
        return [words_of(text) for text in self.texts]

    @cached_property
    def frequency(self) -> Counter[str]:
        """Word -> texts that hold it."""
        return Counter(word for words in self.words for word in set(words))

    def keywords(self, row: int, most: int) -> list[str]:
        """Return up to ``most`` words of a text, those first that fewest others hold; common ones only where there is
        nothing else."""
        own = list(dict.fromkeys(self.words[row]))
        rare = [w for w in own if self.frequency[w] <= COMMON * len(self.texts) and len(w) > 2]
        return sorted(rare or own, key=lambda w: (self.frequency[w], w))[:most]

    def shown_words(self, row: int, most: int) -> list[str]:
        """Return up to ``most`` keywords of those of other groups whose other modalities are most like its own."""
        if self.shown is None:
            return []
        near = self._alike[row].copy()
        near[self.groups == self.groups[row]] = -np.inf
        order = np.argsort(-near, kind="stable")[:LIKE]
        found = [w for other in order.tolist() if np.isfinite(near[other]) for w in self.keywords(other, most)]
        own = set(self.words[row])
        return [w for w in dict.fromkeys(found) if w not in own][:most]

    def any_words(self, row: int, count: int) -> list[str]:
        """Return ``count`` words of the split, as often as they occur; the same ones every time."""
        every = self._every
        places = numpy_rng("words", self.ids[row]).integers(max(1, len(every)), size=count)
        return [every[int(k)] for k in places] if every else []

    def relevance(self, row: int, added: Sequence[str]) -> float:
        """Return how much more like this sample those are in whose text the words ``added`` occur than any others are,
        by the cosine of all other modalities; NaN where text is alone, or nobody else says any of them."""
        if self.shown is None:
            return float("nan")
        others = np.arange(len(self.texts)) != row
        found = [
            float(self._alike[row][rows].mean())
            for word in set(added)
            for rows in [others & self._holds(word)]
            if rows.any()
        ]
        return float(np.mean(found) - self._alike[row][others].mean()) if found else float("nan")

    @cached_property
    def _alike(self) -> Array:
        """Cosines ``(samples, samples)``."""
        assert self.shown is not None
        centred = self.shown - self.shown.mean(0)
        unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
        return np.asarray(unit @ unit.T)

    @cached_property
    def _every(self) -> list[str]:
        return [word for words in self.words for word in words]

    @cached_property
    def _index(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, words in enumerate(self.words):
            for word in set(words):
                found.setdefault(word, []).append(row)
        return found

    def _holds(self, word: str) -> Array:
        rows = np.zeros(len(self.texts), bool)
        rows[self._index.get(word, [])] = True
        return rows


def words_of(text: str) -> list[str]:
    """Return the words of ``text`` in lower case."""
    return [found.group().lower() for found in _WORD.finditer(text)]


def longer(text: str, added: Sequence[str]) -> str:
    """Return ``text``, untouched, and behind it ``added`` as a phrase; without any, ``text`` itself."""
    return f"{text} {', '.join(added)}" if added else text
