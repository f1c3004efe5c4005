"""Pickles in the layout of MAG-BERT: word-aligned CMU-MOSI and CMU-MOSEI.

A dictionary of ``train``, ``dev`` and ``test``, each a list of ``((words, vision, audio), label, segment)`` with one
row of ``vision`` (words, 47) and ``audio`` (words, 74) per word. Layout: Rahman et al., ACL 2020 (arXiv:1908.05787).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.core.options import Bounds
from polymodal.data.columns import (
    SENTIMENT,
    Tally,
    as_array,
    check_range,
    choose,
    corpus_name,
    features,
    groups_of,
    infer_modality,
    is_column,
    name_of,
    numbers,
    split_name,
    word_of,
)
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array
from polymodal.data.split import build_split

Example = Sequence[Any]

_SEQUENCES = {"audio": 2, "vision": 1}  # place in an example's first part


def matches(data: object) -> bool:
    """Whether ``data`` is a dictionary whose lists hold examples of this layout."""
    if not isinstance(data, dict):
        return False
    first = [part[0] for part in data.values() if isinstance(part, (list, tuple)) and part]
    return bool(first) and all(_is_example(e) for e in first)


def _is_example(example: object) -> bool:
    return (
        isinstance(example, (list, tuple))
        and len(example) == 3
        and isinstance(example[0], (list, tuple))
        and len(example[0]) == 3
        and is_column(example[0][0])
    )


def read(
    data: dict[str, Any],
    path: Path,
    *,
    range: Bounds = SENTIMENT,
    modalities: tuple[str, ...] | None = None,
) -> Corpus:
    """Return the corpus in ``data``: ``text`` as strings, ``audio`` and ``vision`` as sequences of one step per word.

    Args:
        data: the unpickled file.
        path: where it came from.
        range: lowest and highest label.
        modalities: names to read; None for all.

    Raises:
        DataError: an example that is built differently, rows that do not match the words, a label out of range.
    """
    parts = _parts(data)
    notes: list[str] = []
    ids = _ids(parts, notes)
    wanted = choose(modalities, ("text", *_SEQUENCES))
    first = next((examples[0] for examples in parts.values() if examples), None)
    if first is None:
        raise DataError("every split is empty; download the file again")
    found = [Modality(n, "text") if n == "text" else infer_modality(n, first[0][_SEQUENCES[n]]) for n in wanted]
    schema = Schema(tuple(found), (Target("sentiment", "regression", range),))
    tally, splits = Tally(), {}
    for name, examples in parts.items():
        labels = _labels(examples, ids[name], name)
        check_range(labels, ids[name], range)
        columns: dict[str, Sequence[Any]] = {m.name: _column(m, examples, ids[name]) for m in found}
        for sequence in set(wanted) - {"text"}:
            tally.non_finite(sequence, columns[sequence])
        groups = groups_of(_segments(examples, name))
        splits[name] = build_split(schema, ids[name], columns, {"sentiment": labels}, groups)
    return Corpus(corpus_name(path), str(path), schema, splits, (*notes, *tally.notes()))


def _parts(data: dict[str, Any]) -> dict[str, list[Example]]:
    parts: dict[str, list[Example]] = {}
    for name, examples in data.items():
        if not is_column(examples):
            raise DataError(f"split {name!r} is a {type(examples).__name__}, expected a list of examples")
        split = split_name(str(name))
        if split in parts:
            raise DataError(f"split {split!r} is there twice, once as {name!r}; remove one of them")
        parts[split] = list(examples)
    for split, examples in parts.items():
        for i, example in enumerate(examples):
            if not _is_example(example):
                raise DataError(f"sample {i} of split {split!r} is not ((words, vision, audio), label, segment)")
    return parts


def _ids(parts: dict[str, list[Example]], notes: list[str]) -> dict[str, list[str]]:
    """Return the segments as ids, made unique if they are not."""
    segments = {split: _segments(examples, split) for split, examples in parts.items()}
    every = [s for names in segments.values() for s in names]
    if len(set(every)) == len(every):
        return segments
    notes.append("segment names repeat: the split and a number were added to make ids unique")
    return {split: [f"{s}#{split}-{i}" for i, s in enumerate(names)] for split, names in segments.items()}


def _segments(examples: list[Example], split: str) -> list[str]:
    return [name_of(e[2], f"the segment of sample {i} of split {split!r}") for i, e in enumerate(examples)]


def _labels(examples: list[Example], ids: list[str], split: str) -> Array:
    rows = [as_array(e[1], f"label of sample {i!r}").reshape(-1) for e, i in zip(examples, ids, strict=True)]
    return numbers(rows, "labels", ids, split)


def _column(modality: Modality, examples: list[Example], ids: list[str]) -> list[Any]:
    if modality.kind == "text":
        named = [(e[0][0], f"a word of sample {sample!r}") for e, sample in zip(examples, ids, strict=True)]
        return [" ".join(filter(None, (word_of(word, what) for word in words))) for words, what in named]
    rows = [
        features(e[0][_SEQUENCES[modality.name]], modality, sample) for e, sample in zip(examples, ids, strict=True)
    ]
    for row, example, sample in zip(rows, examples, ids, strict=True):
        if len(row) != len(example[0][0]):
            raise DataError(
                f"sample {sample!r} has {len(row)} rows of {modality.name} for {len(example[0][0])} words; "
                "this layout has one per word"
            )
    return rows
