"""Insertion: what words cost that say what another modality shows anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from polymodal.audit._asked import cost, pooled
from polymodal.audit._wording import Lexicon, Put, Weights, put_into, with_words, without_words, words_of
from polymodal.audit.base import Findings, Judge, mean_over_groups
from polymodal.audit.importance import right
from polymodal.core import Batch, DataError, OptionError, Target, derive_seed, numpy_rng
from polymodal.data.ragged import Array

WEIGHTS: dict[str, Weights] = {"shown": (1, 5, 5), "faithful": (1, 5, 0)}
"""Of fluency, of what is shown and of distance: the paper's, and without the pressure away from what is shown."""

SAID = {
    "shown": "words for what another modality shows",
    "faithful": "such words, chosen without pressure away from what is shown,",
    "random": "words at random",
}
"""Kinds of words, as sentences call them."""

MOST = 2
"""Words put into a text at most."""


class Insertion:
    """Cross-modal attribute insertions (XMAI; Ramshetty, Verma & Kumar, ACL 2023, arXiv 2306.11065).

    Words for what another modality shows are put into texts, each before a word that is shown as well ("a chair", "a
    wooden chair"): what is meant does not change, so a robust model changes little. A candidate's score is the mean of
    its fluency, of how far it is shown, and of the distance of the text with it from what is shown, with weights 1, 5
    and 5; ``faithful`` leaves the last one out. Beside them, at the same places, words drawn at random from all that
    were put anywhere. Constraints are checked on every text: nothing but insertions, at most one for each word that is
    shown, texts without such a word unchanged.

    Departures: there is no detector of objects, no masked language model and no shared space of pictures and texts for
    most corpora. What goes before which word, and what is seen where a word is said, is learned from one half of the
    groups for the other: fluency from neighbouring words, what is shown from the cosine of a sample's other modalities
    (means over time, standardised) and their mean over texts with the word. Ten candidates a place instead of three.
    Nothing is retrieved: how right answers are stands for the mean reciprocal rank of a picture.
    """

    reads_text = True

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Ask before and after; OptionError for a judge without raw text or without another modality."""
        texts = judge.schema.texts
        if not texts:
            raise OptionError(
                "insertion needs raw text, and this run has none; load the corpus raw (?text=raw) and fit with "
                "--encoder or --encode text=..."
            )
        if len(judge.schema.names) < 2:
            raise OptionError("insertion needs another modality beside the text, and this run has none")
        target, name = judge.schema.joint_targets[0], judge.schema.anchor
        name = name if name in texts else texts[0]
        corpus = _read(batches, target, name)
        put = {kind: _wording(corpus, weights) for kind, weights in WEIGHTS.items()}
        put["random"] = _redrawn(corpus, put["shown"])
        before, after = _answers(judge, target, batches, name, corpus, put)
        groups = np.asarray(corpus.groups)
        evidence = [mean_over_groups("right before", before, groups)]
        for kind, told in after.items():
            evidence.append(mean_over_groups(f"drop, {kind} words", before - told, groups))
        evidence.append(
            mean_over_groups("drop, shown rather than random words", after["random"] - after["shown"], groups)
        )
        changed = np.array([len(p) for p in put["shown"]])
        kept = np.array(
            [len(words_of(t)) / max(1, len(words_of(t)) + n) for t, n in zip(corpus.texts, changed, strict=True)]
        )
        evidence.append(mean_over_groups("share of texts changed", (changed > 0).astype(float), groups))
        evidence.append(mean_over_groups("share of words that were there before", kept, groups))
        rewritten = {
            kind: [with_words(t, p) for t, p in zip(corpus.texts, own, strict=True)] for kind, own in put.items()
        }
        return Findings(
            "Words for what is shown anyway",
            "How much worse answers are with words in the text that another modality shows (XMAI; Ramshetty et al., "
            "ACL 2023).",
            evidence,
            {"id": corpus.ids, "before": before.tolist(), **{f"after/{k}": v.tolist() for k, v in after.items()}}
            | {"text": corpus.texts, **{f"text/{k}": v for k, v in rewritten.items()}},
            asked="Do answers get worse when the text says what another modality shows anyway?",
            found=[
                f"{float((changed > 0).mean()):.0%} of texts have a place for such a word.",
                *(f"{cost(before, told)} when {SAID[kind]} are put into them." for kind, told in after.items()),
            ],
            limits=[
                "What is shown is guessed from which words go with which features; a word may change what is meant, "
                "and no person has read the texts (they are in the table of samples).",
            ],
        )


@dataclass
class _Read:
    """Labelled samples that have a text, and what their other modalities hold."""

    ids: list[str] = field(default_factory=list)
    groups: list[object] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    seen: Array = field(default_factory=lambda: np.zeros((0, 0)))


def _read(batches: Callable[[], Iterable[Batch]], target: Target, name: str) -> _Read:
    found, seen = _Read(), []
    for whole in batches():
        batch = _usable(whole, target, name)
        if not len(batch):
            continue
        found.ids += batch.ids
        found.groups += batch.ids if batch.group is None else batch.group.tolist()
        found.texts += batch[name].texts
        parts = [pooled(s) for n, s in batch.streams.items() if n != name and not isinstance(s.values, list)]
        if not parts:
            raise OptionError("insertion needs a modality that is no text, and this run has none")
        seen.append(np.concatenate(parts, axis=1))
    if not seen:
        raise DataError("no labelled sample of this split has a text; ask about another split")
    values = np.concatenate(seen)
    found.seen = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    return found


def _usable(batch: Batch, target: Target, name: str) -> Batch:
    return batch.select(batch.labelled(target.name) & batch[name].present)


def _wording(corpus: _Read, weights: Weights) -> list[list[Put]]:
    """Return the words for each text, learned from the half of the groups that it is not in."""
    half = np.array([derive_seed(0, "half", str(g)) % 2 for g in corpus.groups])
    put: list[list[Put]] = [[] for _ in corpus.ids]
    for side in (0, 1):
        known, asked = np.flatnonzero(half != side), np.flatnonzero(half == side)
        lexicon = Lexicon([corpus.texts[i] for i in known], corpus.seen[known])
        for i in asked:
            put[i] = put_into(corpus.texts[i], corpus.seen[i], lexicon, weights, MOST)
            _check(corpus.texts[i], put[i], lexicon, corpus.seen[i])
    return put


def _check(text: str, put: list[Put], lexicon: Lexicon, seen: Array) -> None:
    """Raise AssertionError where a constraint is broken, under ``python -O`` too."""
    shown = sum(lexicon.shown(w, seen) > 0 for w in words_of(text))
    if without_words(with_words(text, put), put) != text or len(put) > shown:
        raise AssertionError(f"insertion has changed {text!r} by more than words for what is shown")


def _redrawn(corpus: _Read, put: list[list[Put]]) -> list[list[Put]]:
    """Return the same places with words drawn at random from all that were put anywhere."""
    pool = sorted({p.word for own in put for p in own})
    found = []
    for name, own in zip(corpus.ids, put, strict=True):
        rng = numpy_rng("random words", name)
        found.append([Put(p.place, pool[int(rng.integers(len(pool)))]) for p in own])
    return found


def _answers(
    judge: Judge,
    target: Target,
    batches: Callable[[], Iterable[Batch]],
    name: str,
    corpus: _Read,
    put: dict[str, list[list[Put]]],
) -> tuple[Array, dict[str, Array]]:
    """Return how right the judge is before, and after each kind of words."""
    row = {name: i for i, name in enumerate(corpus.ids)}
    before: list[Array] = []
    after: dict[str, list[Array]] = {kind: [] for kind in put}
    for whole in batches():
        batch = _usable(whole, target, name)
        if not len(batch):
            continue
        before.append(right(judge, target, batch))
        for kind, own in put.items():
            texts = [with_words(t, own[row[i]]) for t, i in zip(batch[name].texts, batch.ids, strict=True)]
            stream = replace(batch[name], values=texts)
            after[kind].append(right(judge, target, replace(batch, streams={**batch.streams, name: stream})))
    return np.concatenate(before), {kind: np.concatenate(found) for kind, found in after.items()}


AUDIT = Insertion
