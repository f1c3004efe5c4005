"""What sets some samples apart from others, in words: values of columns, words that are said, channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from polymodal.audit._asked import Asked, Known
from polymodal.audit._wording import words_of
from polymodal.core import Batch, Schema
from polymodal.data.ragged import Array

CLEAR, SAID, FAR = 0.2, 5, 0.5
"""Difference of shares that a name needs, texts that a word must be in, and standard deviations of a channel."""


@dataclass(frozen=True)
class Hints:
    """What samples can be named by.

    Attributes:
        facts: words of a name -> ``(samples,)`` bool, whom it is true of.
        channels: words of a name -> ``(samples,)``, standardised.
    """

    facts: dict[str, Array]
    channels: dict[str, Array]


def hints_of(schema: Schema, batches: Callable[[], Iterable[Batch]], target: str, asked: Asked, known: Known) -> Hints:
    """Return what the labelled samples of ``batches``, those of ``asked``, can be named by."""
    facts: dict[str, Array] = {}
    for column in known.columns:
        values = known.of(column, asked.ids)
        facts |= {f"{column} {v}": values == v for v in np.unique(values) if v}
    said: list[set[str]] = [set() for _ in asked.ids]
    if schema.texts:
        kept = (whole.select(whole.labelled(target)) for whole in batches())
        texts = [" ".join(t) for b in kept for t in zip(*(b[n].texts for n in schema.texts), strict=True)]
        said = [set(words_of(t)) for t in texts]
    counts = Counter(w for words in said for w in words)
    facts |= {f"{w!r} is said": np.array([w in words for words in said]) for w, n in counts.items() if n >= SAID}
    return Hints(facts, _channels(schema, asked))


def _channels(schema: Schema, asked: Asked) -> dict[str, Array]:
    names = [f"{m.name}[{i}]" for m in schema.modalities if m.width for i in range(m.width)]
    if asked.inputs is None or len(names) != asked.inputs.shape[1]:  # pixels have no names
        return {}
    values = (asked.inputs - asked.inputs.mean(0)) / np.maximum(asked.inputs.std(0), 1e-9)
    return dict(zip(names, values.T, strict=True))


def keyword_score(there: Array, inside: Array, outside: Array) -> float:
    """Return how much more often something is there inside than outside; the sign turns if the two are exchanged."""
    return float(there[inside].mean() - there[outside].mean())


def traits_of(hints: Hints, inside: Array, outside: Array) -> dict[str, Array]:
    """Return what the samples ``inside`` have more often than those ``outside``, two facts and a channel at most, the
    clearest fact first: words -> ``(samples,)`` bool, who has it."""
    shares = {n: keyword_score(there, inside, outside) for n, there in hints.facts.items()}
    best = [n for n in sorted(shares, key=lambda n: -shares[n]) if shares[n] >= CLEAR][:2]
    found = {n: hints.facts[n] for n in best}
    far = {n: keyword_score(values, inside, outside) for n, values in hints.channels.items()}
    top = max(far, key=lambda n: abs(far[n]), default="")
    if top and abs(far[top]) >= FAR:
        values, sign = hints.channels[top], np.sign(far[top])
        middle = (values[inside].mean() + values[outside].mean()) / 2
        found[f"{top} {'high' if sign > 0 else 'low'}"] = sign * (values - middle) > 0
    return found
