"""What a large model is asked and answers, and who was asked what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from polymodal.cascade.routing import Answers, Array


@dataclass(frozen=True)
class Sample:
    """What a large model may know of a sample.

    Attributes:
        id: its name in the corpus.
        text: what is said in it; empty where that is not known.
    """

    id: str
    text: str = ""


@dataclass(frozen=True)
class Reference:
    """Both answers that contradict each other, for a second question: numbers, or class numbers."""

    small: float
    large: float


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        score: a number or class number; NaN where none could be read.
        uncertainty: in [0, 1].
        text: what was said, where it was said in words.
        usage: what it took, counted as in ``LargeModel.usage``.
    """

    score: float
    uncertainty: float
    text: str = ""
    usage: Mapping[str, int] = field(default_factory=dict, compare=False)


NOTHING = Answer(float("nan"), 1.0)


class LargeModel(Protocol):
    """Whoever is asked about the samples that a small model is unsure of.

    Attributes:
        name: what records call it.
        reads_references: whether a second question, with both earlier answers, may be answered otherwise than the
            first; a model that cannot read them is asked once only.
        costly: whether every question costs money or minutes; such a model is asked what must be known, no more.
        reads_text: whether it reads the words of a sample.
        notes: what a reader must know beside the answers, one sentence each.
        usage: what answering took, counted, for example requests; empty where that is nothing.
    """

    name: str
    reads_references: bool
    costly: bool
    reads_text: bool
    notes: list[str]
    usage: dict[str, int]

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return one answer per sample; ``references`` (one per sample) make it a second question."""
        ...


class Questions:
    """All that a large model was asked about some samples; nothing is asked twice.

    Attributes:
        small: the small model's answers.
        first, second: the large model's answers so far.
        texts: (first, second) what it said, one per sample.
        usage: what the answers to each sample took.

    Args:
        large: who is asked.
        samples: all of them.
        small: answers, one per sample.
    """

    def __init__(self, large: LargeModel, samples: Sequence[Sample], small: Answers) -> None:
        self.large, self.samples, self.small = large, samples, small
        count = len(samples)
        self.first, self.second = Answers.empty(count), Answers.empty(count)
        self.texts: tuple[list[str], list[str]] = ([""] * count, [""] * count)
        self.usage: list[Counter[str]] = [Counter() for _ in range(count)]
        self._asked = np.zeros((2, count), bool)

    def ask(self, rows: Array) -> None:
        """Ask about the samples where ``rows`` (samples,) is True."""
        new = np.flatnonzero(rows & ~self._asked[0]).tolist()
        if new:
            self._keep(0, new, self.first, self.large.predict([self.samples[i] for i in new]))

    def ask_again(self, rows: Array) -> None:
        """Ask a second time where ``rows`` is True, with both answers; they were asked about before."""
        new = np.flatnonzero(rows & ~self._asked[1]).tolist()
        if new and self.large.reads_references:
            references = [Reference(float(self.small.y[i]), float(self.first.y[i])) for i in new]
            self._keep(1, new, self.second, self.large.predict([self.samples[i] for i in new], references))

    def _keep(self, turn: int, rows: list[int], known: Answers, found: Sequence[Answer]) -> None:
        self._asked[turn, rows] = True
        for row, answer in zip(rows, found, strict=True):
            known.y[row] = answer.score
            known.u[row] = 1.0 if np.isnan(answer.score) else answer.uncertainty
            self.texts[turn][row] = answer.text
            self.usage[row].update(answer.usage)
