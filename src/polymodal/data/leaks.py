"""What one split may give away about another: groups and texts that both have."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from polymodal.core import Schema
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array
from polymodal.data.split import Split


def leaks(corpus: Corpus) -> list[str]:
    """Return a sentence for every two splits that share groups, and for every split that shares texts with ``train``.

    Args:
        corpus: not encoded yet: states of a text are not compared.
    """
    return [*shared_groups(corpus), *repeated_texts(corpus)]


def shared_groups(corpus: Corpus) -> list[str]:
    """Return a sentence for every two splits that have a group in common."""
    groups = {name: set(split.groups) for name, split in corpus.splits.items()}
    found = []
    for one, other in combinations(groups, 2):
        if both := groups[one] & groups[other]:
            found.append(
                f"{len(both)} of {len(groups[other])} groups (videos, speakers) of {other} are also in {one}: "
                f"scores on {other} may be too good"
            )
    return found


def repeated_texts(corpus: Corpus) -> list[str]:
    """Return a sentence for every split that has texts of ``train``."""
    found = []
    for modality in corpus.schema.modalities:
        if modality.kind != "text" or "train" not in corpus.splits:
            continue
        known = set(_text_hashes(corpus["train"], modality.name))
        for name in (n for n in corpus.splits if n != "train"):
            if same := sum(text in known for text in _text_hashes(corpus[name], modality.name)):
                found.append(
                    f"{same} of {len(corpus[name])} samples of {name} have a {modality.name} that is also in train"
                )
    return found


def texts_across(split: Split, numbers: Array, schema: Schema) -> list[str]:
    """Return a sentence for every modality with texts that are in more than one fold.

    Args:
        split: the samples.
        numbers: ``(rows,)``, the fold of each.
        schema: of the corpus.
    """
    found = []
    for name in (m.name for m in schema.modalities if m.kind == "text"):
        folds: dict[int, set[int]] = {}
        hashes, there = _text_hashes(split, name), numbers[split.present[name]].tolist()
        for text, fold in zip(hashes, there, strict=True):
            folds.setdefault(text, set()).add(fold)
        if same := sum(len(folds[text]) > 1 for text in hashes):
            found.append(f"{same} of {len(split)} samples have a {name} that is also in another fold")
    return found


def _text_hashes(split: Split, name: str) -> list[int]:
    column = split.columns[name]
    return [hash(column[int(i)]) for i in np.flatnonzero(split.present[name])]
