"""Cross-modal dilution: text made longer by words that go with what the other modalities show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from polymodal.audit._asked import cost
from polymodal.audit._choices import middle, rightness, width
from polymodal.audit._dilute import Said, longer
from polymodal.audit._pooled import Pooled, pooled
from polymodal.audit.base import Evidence, Findings, Judge, mean_over_groups
from polymodal.core import Batch, DataError, Stream, Target, numpy_rng
from polymodal.data.ragged import Array

OWN, SHOWN = 3, 5
"""Keywords of the text and words for what is shown that are added: a dilution of eight words."""

TRIED = 4
"""Phrases of the same words, of which the one that misleads most is kept as the hostile one."""

Tags = Callable[[Batch], Sequence[Sequence[str]]]
"""A batch -> for each sample, words for what its other modalities show."""

HOW, LOST, NEAR = "How right, from 0 to 1", "Lost by adding", "Relevance of what is added"
MORE = "what is shown, beyond any words"

ANY, SAME, CROSS, WORST = "any words", "its own key words", "what is shown", "what is shown, worst of four"

WHEN = {
    ANY: "any words are added",
    SAME: "its own key words are said again",
    CROSS: "words are added that go with what is shown",
    WORST: "these words stand in the worst of four orders",
}


class Dilution:
    """How much right answers lose when true-sounding words are added to the text (Verma et al., EMNLP 2022, arXiv
    2211.02646).

    Additions are equally long, and stand behind the text, which is never changed:

    - any words of the corpus: what length alone costs;
    - the text's own key words, again;
    - what is shown: words for the other modalities, and key words of the text;
    - the worst of four orders of the same words, chosen by the answers: by log(1 + exp(2 p - 1)) of the probability p
      of the right class where it is right, 0 where it is wrong already.

    Every key word that is called for stands in the addition. Relevance says how far additions go with what is shown:
    how much more like the sample those are in whose texts the added words occur than others are.

    Departures: the paper inserts words with a language model that is trained against the classifier, and finds objects
    in images; here words are listed, the worst of four is searched, and what is shown is, without ``tags``, the key
    words of the three most similar samples of other groups, by everything but text.

    Args:
        tags: words for what is shown; default: as above.
    """

    reads_text = True

    def __init__(self, tags: Tags | None = None) -> None:
        self.tags = tags

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Ask; DataError where there is no raw text, or no label."""
        schema, target = judge.schema, judge.schema.joint_targets[0]
        if not schema.texts:
            raise DataError(
                f"there is no raw text among {', '.join(schema.names)}, and words cannot be added to features; audit a "
                "run on raw text (a pickle: ?text=raw), with --encode text=minilm where a frozen encoder reads it"
            )
        name = schema.texts[0]
        data = pooled(batches, target)
        if not data.ids:
            raise DataError(f"no sample has a label of {target.name!r}; choose another split")
        others = [data.features[n] for n in schema.names if n != name]
        known = Said(data.ids, data.texts[name], data.groups, np.concatenate(others, axis=1) if others else None)
        added = additions(known, self._tagged(batches))
        found = _Asked(judge, target, name, batches, data)
        right = {"": found.right(found.said(None))}
        right |= {what: found.right(found.said(phrases)) for what, phrases in added.items() if what != CROSS}
        if CROSS in added:
            right |= found.searched(added)
        return _findings(found, known, added, right)

    def _tagged(self, batches: Callable[[], Iterable[Batch]]) -> dict[str, Sequence[str]] | None:
        """Return id -> words for what is shown; None where nobody names it."""
        if self.tags is None:
            return None
        return {i: words for batch in batches() for i, words in zip(batch.ids, self.tags(batch), strict=True)}


def additions(known: Said, tags: dict[str, Sequence[str]] | None = None) -> dict[str, list[list[str]]]:
    """Return kind of addition -> the words for each sample, as many in all kinds.

    Args:
        known: what was said.
        tags: id -> words for what is shown; by similar samples where not given. Without other modalities, and without
            tags, nothing is shown, and additions are of key words and of any words.
    """
    found: dict[str, list[list[str]]] = {CROSS: [], SAME: [], ANY: []}
    for row, sample in enumerate(known.ids):
        own = known.keywords(row, OWN)
        shown = list(tags.get(sample, ())) if tags is not None else known.shown_words(row, SHOWN)
        wanted = [*shown, *own]
        count = len(wanted) or OWN
        found[CROSS].append(wanted)
        found[SAME].append((own * count)[:count])
        found[ANY].append(known.any_words(row, count))
    if tags is None and known.shown is None:
        del found[CROSS]
    return found


def adversarial_loss(probability: Array, right: Array) -> Array:
    """Return what a hostile addition makes small: the cross entropy of "another class" under the softmax of (1 - p, p).

    Args:
        probability: ``(samples,)`` p, of the right class; of a number, how right it is.
        right: ``(samples,)`` bool; what is wrong already costs nothing.
    """
    return np.where(right, np.log1p(np.exp(2 * probability - 1)), 0.0)


@dataclass
class _Asked:
    """A judge who is asked about one split with other texts."""

    judge: Judge
    target: Target
    name: str
    batches: Callable[[], Iterable[Batch]]
    data: Pooled

    def __post_init__(self) -> None:
        self.rows = {sample: row for row, sample in enumerate(self.data.ids)}
        self.scale, self.centre = width(self.target, self.data.true), middle(self.target, self.data.true)

    def said(self, phrases: list[list[str]] | None) -> Array:
        """Return what is said of every sample when ``phrases`` stand behind its text."""
        found: dict[int, Array] = {}
        for batch in self.batches():
            batch = batch.select(batch.labelled(self.target.name))
            if not len(batch):
                continue
            rows = [self.rows[i] for i in batch.ids]
            if phrases is not None:
                stream = batch[self.name]
                texts = [
                    longer(text, phrases[row]) if there else text
                    for text, row, there in zip(stream.texts, rows, stream.present.tolist(), strict=True)
                ]
                batch = replace(batch, streams={**batch.streams, self.name: Stream(texts, None, stream.present)})
            found |= dict(zip(rows, self.judge(batch)[self.target.name].double().cpu().numpy(), strict=True))
        return np.stack([found[row] for row in range(len(self.rows))])

    def right(self, said: Array) -> Array:
        """Return how right each answer is."""
        return rightness(self.target, said, self.data.true, self.scale)

    def loss(self, said: Array) -> Array:
        """Return ``adversarial_loss`` of each answer."""
        right = self.right(said)
        if self.target.spec.answer == "class":
            return adversarial_loss(said[np.arange(len(said)), self.data.true.astype(int)], right > 0)
        if self.target.spec.answer == "classes":
            return adversarial_loss(np.where(self.data.true > 0.5, said, 1 - said).mean(1), right > 0)
        return adversarial_loss(right, (said > self.centre) == (self.data.true > self.centre))

    def searched(self, added: dict[str, list[list[str]]]) -> dict[str, Array]:
        """Return how right answers are to what is shown, and to the worst of several orders of it, which ``added`` is
        told."""
        phrases = [added[CROSS]]
        for number in range(1, TRIED):
            phrases.append([_turned(p, i, number) for p, i in zip(added[CROSS], self.data.ids, strict=True)])
        said = [self.said(p) for p in phrases]
        worst = np.argmin([self.loss(s) for s in said], axis=0)
        added[WORST] = [phrases[number][row] for row, number in enumerate(worst.tolist())]
        right = np.stack([self.right(s) for s in said])
        return {CROSS: right[0], WORST: right[worst, np.arange(len(worst))]}


def _turned(phrase: list[str], sample: str, number: int) -> list[str]:
    """Return the words of ``phrase`` in another order."""
    return [phrase[int(k)] for k in numpy_rng("order", sample, number).permutation(len(phrase))]


def _findings(found: _Asked, known: Said, added: dict[str, list[list[str]]], right: dict[str, Array]) -> Findings:
    data, kinds = found.data, [k for k in (ANY, SAME, CROSS, WORST) if k in added]
    evidence = [_in(HOW, mean_over_groups("text as it is", right[""], data.groups))]
    evidence += [_in(HOW, mean_over_groups(f"longer by {k}", right[k], data.groups)) for k in kinds]
    evidence += [_in(LOST, mean_over_groups(k, right[""] - right[k], data.groups)) for k in kinds]
    if CROSS in added:
        evidence.append(_in(LOST, mean_over_groups(MORE, right[ANY] - right[CROSS], data.groups)))
    sentences = [f"{cost(right[''], right[kind])} when {WHEN[kind]}." for kind in kinds]
    notes = []
    for kind in kinds:
        near = np.array([known.relevance(row, phrase) for row, phrase in enumerate(added[kind])])
        if np.isfinite(near).any():
            rows = np.isfinite(near)
            evidence.append(_in(NEAR, mean_over_groups(kind, near[rows], data.groups[rows])))
    if CROSS not in added:
        notes.append("Text is the only modality: there is nothing else that could be shown.")
    samples: dict[str, list[object]] = {"id": list(data.ids), "right": right[""].tolist()}
    for kind in kinds:
        samples |= {f"{kind}/right": right[kind].tolist(), f"{kind}/added": [", ".join(p) for p in added[kind]]}
    return Findings(
        "Diluted text",
        "What right answers lose when words are added behind the text (Verma et al., EMNLP 2022).",
        evidence,
        samples,
        notes,
        asked="Does the model stay right when words are added to the text that fit what else is heard or seen?",
        found=sentences,
        limits=[
            "Words are listed, not woven into sentences; a person would add them differently.",
            "What is shown is told by the words of similar samples: how well they fit, relevance says, and near 0 they "
            "fit no better than any words.",
            "The worst of four is a search: with more tries more would be lost.",
        ],
    )


def _in(part: str, line: Evidence) -> Evidence:
    return replace(line, part=part)


AUDIT = Dilution
