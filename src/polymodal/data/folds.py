"""Cross-validation by groups: which fold tests a sample, which validates on it, which trains on it.

The splits ``train``, ``valid`` and ``test`` are pooled, and their groups (videos, speakers) dealt to folds, whole; any
other test split stays as it is, and so does ``test`` where only the other two are to be dealt. The folds stand in a
circle: each is tested by the models that validate on those behind it and train on all others, so that a sample is
predicted once by models that never saw its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from polymodal.core import DataError, Schema, numpy_rng
from polymodal.core.options import LEAVE_ONE_GROUP_OUT, FoldScheme, read_value
from polymodal.data.corpus import Corpus, derived_hash
from polymodal.data.leaks import leaks, texts_across
from polymodal.data.ragged import Array
from polymodal.data.split import Split

POOLED = ("train", "valid", "test")
"""Splits whose samples are dealt."""

OUT_OF_FOLD = "out_of_fold"
"""What the samples that were dealt are called as a test split where ``test`` is none of them."""

HANDFUL = 5
"""Groups to validate on, at most, where every group is a fold; else a fifth of the others."""


@dataclass(frozen=True)
class Folds:
    """Who is in which fold.

    Attributes:
        scheme: number of folds, or ``leave-one-group-out``.
        by: what stays whole: ``group``, or ``sample`` where no groups are known.
        groups: of each fold the names of its groups, or the ids of its samples.
        validated: folds, behind its own in the circle, on which the models that test a fold validate.
        splits: whose samples were dealt, some of ``POOLED``.
    """

    scheme: FoldScheme
    by: str
    groups: tuple[tuple[str, ...], ...]
    validated: int = 1
    splits: tuple[str, ...] = POOLED

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        return f"{len(self)} folds, " + ("a group each" if self.scheme == LEAVE_ONE_GROUP_OUT else f"by {self.by}s")

    def validation(self, fold: int) -> list[int]:
        """Return the folds on which the models that test ``fold`` validate."""
        return [(fold + step) % len(self) for step in range(1, self.validated + 1)]

    def numbers(self, split: Split) -> Array:
        """Return the fold of each sample of ``split``, ``(rows,)``.

        Raises:
            DataError: a sample or group that is in no fold.
        """
        home = {name: fold for fold, names in enumerate(self.groups) for name in names}
        names = split.ids if self.by == "sample" else split.groups
        unknown = next((name for name in names if name not in home), None)
        if unknown is not None or len(names) != len(split):
            raise DataError(f"{self.by} {unknown!r} is in none of the {self}; fit the corpus anew, as it is now")
        return np.array([home[name] for name in names], dtype=np.int64)

    def seen(self, corpus: Corpus) -> list[str]:
        """Return a sentence for every test split of another corpus in which there are names that are in the folds."""
        known, found = {name for names in self.groups for name in names}, []
        for name in corpus.test_splits:
            split = corpus[name]
            if same := sum(n in known for n in (split.ids if self.by == "sample" else split.groups)):
                what = "an id" if self.by == "sample" else "a group"
                found.append(
                    f"{same} of {len(split)} samples of {name} have {what} that is in the folds, most of whose models "
                    "learned from it: scores may be too good"
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with ``count``."""
        return {
            "scheme": self.scheme,
            "count": len(self),
            "by": self.by,
            "validated": self.validated,
            "groups": [list(names) for names in self.groups],
            **({} if self.splits == POOLED else {"splits": list(self.splits)}),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Folds:
        """Inverse of ``to_dict``."""
        splits = tuple(data.get("splits", POOLED))
        return cls(data["scheme"], data["by"], tuple(map(tuple, data["groups"])), data["validated"], splits)

    @property
    def tested(self) -> str:
        """The name that the samples that were dealt have as a test split."""
        return "test" if "test" in self.splits else OUT_OF_FOLD


class Dealt:
    """A corpus dealt to folds.

    Attributes:
        folds: who is in which.
        pooled: the samples that were dealt.
        numbers: the fold of each, ``(rows,)``.

    Args:
        corpus: with the samples that ``folds`` were made of, encoded or not.
        folds: from ``deal``.

    Raises:
        DataError: a sample that is in no fold.
    """

    def __init__(self, corpus: Corpus, folds: Folds) -> None:
        self.folds, self._corpus = folds, corpus
        self.pooled = pooled(corpus, folds.splits)
        self._fixed = fixed(corpus, folds.splits)
        self.numbers = folds.numbers(self.pooled)
        self._made: dict[int, Corpus] = {}

    @cached_property
    def hash(self) -> str:
        """Which sample is in which fold, as 16 hex digits; the hash of a corpus knows nothing of groups."""
        told = "\x1f".join(f"{name} {fold}" for name, fold in zip(self.pooled.ids, self.numbers, strict=True))
        return hashlib.sha256(f"{self.folds.validated} {told}".encode()).hexdigest()[:16]

    @property
    def whole(self) -> Corpus:
        """The corpus to be tested on: all samples that were dealt as one split, and the test splits that stay."""
        splits = {self.folds.tested: self.pooled, **self._fixed}
        return replace(self._corpus, splits=splits, stored_hash=self._corpus.hash)

    def corpus(self, fold: int) -> Corpus:
        """Return the corpus whose ``train``, ``valid`` and ``test`` (``Folds.tested``) are those of ``fold``; features
        are shared."""
        if fold not in self._made:
            parts = {name: self.pooled.view(rows) for name, rows in self._rows(fold).items()}
            self._made[fold] = replace(
                self._corpus,
                splits={**parts, **self._fixed},
                truth={},
                stored_hash=derived_hash(self._corpus.hash, self.hash, fold),
                stored_normalizer=None,
            )
        return self._made[fold]

    def _rows(self, fold: int) -> dict[str, Array]:
        tested, validated = self.numbers == fold, np.isin(self.numbers, self.folds.validation(fold))
        rows = {"train": ~tested & ~validated, "valid": validated, self.folds.tested: tested}
        return {name: np.flatnonzero(chosen) for name, chosen in rows.items()}

    def notes(self) -> list[str]:
        """Return what was decided for the user, one sentence each."""
        found = []
        if self.folds.by == "sample":
            found.append(
                "no groups (videos, speakers) are known: samples are dealt one by one, and a person may be in two folds"
            )
        if self._fixed:
            found.append(f"{', '.join(self._fixed)} stays as it is, tested by the models of all folds")
        return found

    def warnings(self) -> list[str]:
        """Return a sentence for all that may spoil figures: texts in two folds, classes without a sample to learn from.

        Raises:
            DataError: a fold without any known label to train or to validate on.
        """
        found = leaks(replace(self._corpus, splits={"train": self.pooled, **self._fixed}))
        found += texts_across(self.pooled, self.numbers, self._corpus.schema)
        largest = int(np.bincount(np.unique(_names(self.pooled), return_inverse=True)[1]).max())
        if 2 * largest > len(self.pooled):
            found.append(f"one group holds {largest / len(self.pooled):.0%} of the samples: folds cannot be even")
        lacking: dict[str, list[str]] = {}
        for fold in range(len(self.folds)):
            for what in self._lacking(fold):
                lacking.setdefault(what, []).append(str(fold))
        return found + [f"{what} to train on in fold {', '.join(where)}" for what, where in lacking.items()]

    def _lacking(self, fold: int) -> list[str]:
        """Return the classes that the training part of ``fold`` has no sample of."""
        rows, found = self._rows(fold), []
        for target in self._corpus.schema.targets:
            labels = self.pooled.targets[target.name]
            for part in ("train", "valid"):
                if not target.spec.known(labels[rows[part]]).any():
                    raise DataError(
                        f"{self._corpus.source}: no label {target.name!r} is known in the {part} part of fold {fold}; "
                        "use fewer folds, or leave the target out"
                    )
            told = labels[rows["train"]]
            counts = target.spec.counts(told[target.spec.known(told)])
            found += [f"{target.name} has no {c}" for c in target.classes if not counts[c]]
        return found


def deal(corpus: Corpus, scheme: FoldScheme, *, seed: int = 0, splits: Sequence[str] = POOLED) -> Folds:
    """Deal the samples of ``corpus`` to folds: groups whole, sizes and shares of classes as even as they go.

    Greedy: the largest group first, each to the fold that has least of what it brings. The dealing is a function of the
    corpus and ``seed``, so that all methods are compared on the same folds.

    Args:
        splits: whose samples are dealt, of ``POOLED``; the others stay as they are.

    Raises:
        OptionError: a scheme that is none.
        DataError: nothing to pool, fewer groups than folds, splits with groups beside splits without, a retrieval,
            domains with hidden labels.
    """
    scheme = read_value("folds", scheme, FoldScheme)
    samples = pooled(corpus, splits)
    _check(corpus)
    names, member = np.unique(_names(samples), return_inverse=True)
    by = "group" if len(samples.groups) else "sample"
    if scheme == LEAVE_ONE_GROUP_OUT:
        if by == "sample":
            raise DataError(f"{corpus.source} knows no groups (videos, speakers), so none can be left out; use folds 5")
        wanted = len(names)
    else:
        wanted = int(scheme)
    if len(names) < max(3, wanted):
        raise DataError(
            f"{corpus.source} has {len(names)} {by}{'s' * (len(names) > 1)} for {max(3, wanted)} folds, and a {by} "
            f"stays whole; " + (f"use {len(names)} folds or fewer" if len(names) >= 3 else "fit it without folds")
        )
    rng = numpy_rng("folds", seed)
    if scheme == LEAVE_ONE_GROUP_OUT:
        home, validated = rng.permutation(wanted), min(HANDFUL, max(1, round((wanted - 1) / 5)))
    else:
        home, validated = _dealt(_contents(corpus.schema, samples, member), wanted, rng), 1
    groups = tuple(tuple(names[home == fold].tolist()) for fold in range(wanted))
    return Folds(scheme, by, groups, validated, tuple(splits))


def pooled(corpus: Corpus, splits: Sequence[str] = POOLED) -> Split:
    """Return the samples that folds are made of; DataError where there are none, or some have groups and some not."""
    parts = {name: corpus.splits[name] for name in splits if name in corpus.splits}
    if not parts:
        raise DataError(f"{corpus.source} has none of the splits {', '.join(splits)}, which folds are made of")
    known = [name for name, part in parts.items() if len(part.groups)]
    if known and len(known) < len(parts):
        raise DataError(f"{corpus.source} has groups in {', '.join(known)} only; give all of {', '.join(parts)} groups")
    return Split.joined(list(parts.values()))


def fixed(corpus: Corpus, splits: Sequence[str] = POOLED) -> dict[str, Split]:
    """Return the test splits that stay as they are where ``splits`` are dealt."""
    return {name: split for name, split in corpus.splits.items() if name not in splits}


def _names(samples: Split) -> list[str]:
    return list(samples.groups) or list(samples.ids)


def _check(corpus: Corpus) -> None:
    """Raise DataError where dealing would change what is asked."""
    for target in corpus.schema.targets:
        if target.spec.answer == "match":
            raise DataError(f"{corpus.source} retrieves among the samples of a split; folds have none of their own")
    if corpus.schema.domains and "train" in corpus.splits:
        train = corpus["train"]
        for number, name in enumerate(corpus.schema.domains):
            rows = np.asarray(train.domains) == number
            if rows.any() and not any(
                t.spec.known(train.targets[t.name][rows]).any() for t in corpus.schema.joint_targets
            ):
                raise DataError(
                    f"{corpus.source} hides the labels of {name} from training, and folds would deal its test samples "
                    "to training; leave out unlabelled, or the folds"
                )


def _contents(schema: Schema, samples: Split, member: Array) -> Array:
    """Return what each group brings, ``(groups, columns)``: its samples, then its samples of each class."""
    columns = [np.bincount(member).astype(float)]
    for target in schema.joint_targets:
        labels = samples.targets[target.name]
        known = target.spec.known(labels)
        if target.spec.answer == "class":
            columns += [np.bincount(member, known & (labels == c)) for c in range(len(target.classes))]
        elif target.spec.answer == "classes":
            columns += [np.bincount(member, known & (labels[:, c] == 1)) for c in range(len(target.classes))]
    return np.stack(columns, axis=1)


def _dealt(contents: Array, folds: int, rng: np.random.Generator) -> Array:
    """Return the fold of each group."""
    order = rng.permutation(len(contents))
    order = order[np.argsort(-contents[order, 0], kind="stable")]
    weights = 1 / np.maximum(contents.sum(axis=0), 1)
    held = np.zeros((folds, contents.shape[1]))
    home = np.zeros(len(contents), dtype=np.int64)
    for group in order:
        # What a fold has of the same: its square grows least where this is least, and an empty fold has none.
        home[group] = int(np.lexsort((held[:, 0], held @ (contents[group] * weights)))[0])
        held[home[group]] += contents[group]
    return home
