"""The corpora of ``corpora.py`` in few steps, for benchmarks of many methods on a small machine.

    polymodal data info "benchmarks/corpora_small.py:small?name=ravdess_av&held_out=0/5"

A sequence becomes the means of up to ``steps`` equal slices, a text the mean of its frozen MiniLM states, and of large
training splits every n-th sample is kept. Groups, labels, test samples and columns about samples stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import corpora
from polymodal.core import Modality, OptionError, nearest
from polymodal.core.options import Count
from polymodal.data.corpus import Corpus
from polymodal.data.encode import encode_corpus
from polymodal.data.ragged import Array
from polymodal.data.split import Split, build_split

MINILM = "minilm?layers=3&max_tokens=64"


def small(name: str, steps: Count = 8, most: Count = 1300, tested: Count = 800) -> Corpus:
    """Return a corpus in few steps.

    Args:
        name: of a function of ``corpora.py``.
        steps: of a sequence, at most.
        most: training samples; of more, every n-th is kept.
        tested: the same for each other split.

    Raises:
        OptionError: no such corpus.
    """
    if name not in corpora.__all__:
        raise OptionError(f"there is no corpus {name!r}{nearest(name, corpora.__all__)}")
    whole: Corpus = getattr(corpora, name)()
    thinned = {part: _thinned(split, most if part == "train" else tested) for part, split in whole.splits.items()}
    whole = replace(whole, splits=thinned)
    texts = whole.schema.texts
    whole = encode_corpus(whole, dict.fromkeys(texts, MINILM))
    vectors = tuple(Modality(m.name, "vector", m.width) if m.name in texts else m for m in whole.schema.modalities)
    schema = replace(whole.schema, modalities=vectors)
    splits = {}
    for part, split in whole.splits.items():
        columns = {
            m.name: _short(split, m.name, m.kind, 0 if m.name in texts else steps) for m in whole.schema.modalities
        }
        splits[part] = build_split(schema, split.ids, columns, split.targets, split.groups, about=split.about)
    notes = (*whole.notes, f"sequences are means of up to {steps} slices, texts means of MiniLM states")
    return Corpus(name, whole.source, schema, splits, notes)


def in_slices(corpus: Corpus, steps: int) -> Corpus:
    """Return the corpus with its sequences as means of up to ``steps`` slices; groups and labels stay."""
    splits = {}
    for part, split in corpus.splits.items():
        columns = {m.name: _short(split, m.name, m.kind, steps) for m in corpus.schema.modalities}
        splits[part] = build_split(corpus.schema, split.ids, columns, split.targets, split.groups, about=split.about)
    return replace(corpus, splits=splits)


def _thinned(split: Split, most: int) -> Split:
    rows = np.arange(len(split))
    return split if len(rows) <= most else split.select(rows[:: -(-len(rows) // most)])


def _short(split: Split, name: str, kind: str, steps: int) -> list[Array | None]:
    """Return the rows of a modality, sequences as means of ``steps`` slices, or one vector for 0; None where absent."""
    rows = [split.columns[name][i] if here else None for i, here in enumerate(split.present[name])]
    if kind != "sequence":
        return rows
    return [None if row is None or not len(row) else _means(np.asarray(row, np.float32), steps) for row in rows]


def _means(row: Array, steps: int) -> Array:
    if not steps:
        return row.mean(axis=0)
    return np.stack([part.mean(axis=0) for part in np.array_split(row, min(steps, len(row)))])
