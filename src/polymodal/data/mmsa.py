"""Pickles in the layout of MMSA (CMU-MOSI, CMU-MOSEI, CH-SIMS, CH-SIMS v2), with its relatives MulT and CyIN.

A dictionary of splits, each a dictionary of arrays with one row per sample: ``text`` (N, time, width), ``text_bert``
(N, 3, time) whose second row is the attention mask, ``raw_text``, ``audio``, ``vision``, ``audio_lengths``,
``vision_lengths``, ``id``, and labels: ``regression_labels`` (plus ``_T``, ``_A``, ``_V``), ``classification_labels``,
or MulT's ``labels`` (N, 1, 1). Layout: Mao et al., M-SENA, ACL 2022 (arXiv:2203.12441).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polymodal.core import DataError, Modality, Schema
from polymodal.core.options import Bounds
from polymodal.data.columns import (
    Tally,
    as_array,
    choose,
    corpus_name,
    features,
    groups_of,
    infer_modality,
    is_column,
    is_text,
    keys_of,
    numbers,
    sample_ids,
    split_name,
    text_of,
    trimmed_length,
)
from polymodal.data.corpus import Corpus
from polymodal.data.mmsa_labels import Part, Task, read_labels
from polymodal.data.ragged import Array
from polymodal.data.split import Split, build_split

_FEATURES = ("text", "audio", "vision")


def matches(data: object) -> bool:
    """Whether ``data`` has at least one split with features and labels in this layout."""
    if not isinstance(data, dict):
        return False
    parts = [part for name, part in data.items() if isinstance(part, dict) and _is_kept(name)]
    return any(set(part) & {*_FEATURES, "raw_text"} and any("labels" in str(k) for k in part) for part in parts)


def read(
    data: dict[str, Any],
    path: Path,
    *,
    text: Literal["features", "raw"] | None = None,
    target: Task | None = None,
    range: Bounds | None = None,
    modalities: tuple[str, ...] | None = None,
) -> Corpus:
    """Return the corpus in ``data``, which is emptied on the way to save memory.

    Args:
        data: the unpickled file.
        path: where it came from.
        text: what the modality ``text`` holds, the stored features or the raw strings; None prefers features.
        target: labels to use; None prefers regression.
        range: lowest and highest label; None decides between CMU (-3, 3) and CH-SIMS (-1, 1), see the notes.
        modalities: names to read; None for all.

    Raises:
        DataError: arrays that disagree, impossible lengths, labels that are missing or out of range.
    """
    notes: list[str] = []
    parts = _parts(data, notes)
    wanted = choose(modalities, _FEATURES)
    source = text or _text_source(parts)
    ids = {name: _ids(part, name, notes) for name, part in parts.items()}
    targets, labels = read_labels(parts, ids, target, range, notes)
    rows = {name: _rows(part, wanted, source, ids[name]) for name, part in parts.items()}
    found = _modalities(rows, wanted, source)
    if text is not None and "text" in wanted and "text" not in [m.name for m in found]:
        raise DataError(f"the file has no text as {text}; leave the option text out")
    schema = Schema(found, tuple(t for t in targets if t.modality in (None, *wanted)))
    tally, splits = Tally(), {}
    for name, part in parts.items():
        lengths = _lengths(part, rows[name], schema, ids[name], name, notes)
        splits[name] = _split(schema, ids[name], rows.pop(name), lengths, labels[name], tally)
    return Corpus(corpus_name(path), str(path), schema, splits, (*dict.fromkeys(notes), *tally.notes()))


def _is_kept(name: object) -> bool:
    return isinstance(name, str) and (split_name(name) in ("train", "valid") or split_name(name).startswith("test"))


def _parts(data: dict[str, Any], notes: list[str]) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name in list(data):
        part = data.pop(name)
        if not _is_kept(name):
            notes.append(
                f"{repr(name)[:60]} was left out: it is neither train, valid nor test (CH-SIMS v2: unlabelled clips)"
            )
            continue
        if not isinstance(part, dict):
            raise DataError(f"split {name!r} is a {type(part).__name__}, expected a dictionary of arrays")
        if split_name(name) in parts:
            raise DataError(f"split {split_name(name)!r} is there twice, once as {name!r}; remove one of them")
        for key in (*_FEATURES, "raw_text", "id"):
            if part.get(key) is not None and not is_column(part[key]):
                raise DataError(f"{key} of split {name!r} is a {type(part[key]).__name__}, expected one row per sample")
        parts[split_name(name)] = part
    return parts


def _text_source(parts: dict[str, Part]) -> Literal["features", "raw"]:
    stored = [part["text"] for part in parts.values() if part.get("text") is not None]
    return "features" if any(len(column) and not is_text(column) for column in stored) else "raw"


def _ids(part: Part, split: str, notes: list[str]) -> list[str]:
    columns = [part[k] for k in (*_FEATURES, "raw_text") if part.get(k) is not None]
    if not columns:
        raise DataError(f"split {split!r} has no text, audio or vision; its keys are {keys_of(part)}")
    count = len(columns[0])
    if part.get("id") is None:
        notes.append(f"{split} has no ids: samples are numbered, and videos that splits share cannot be seen")
        return [f"{split}-{i}" for i in range(count)]
    return sample_ids(part["id"], count, split)


def _rows(part: Part, wanted: list[str], source: str, ids: list[str]) -> dict[str, Any]:
    """Take the columns out of ``part``: modality -> one row per sample; a modality that is not stored has none."""
    rows = {}
    for name in wanted:
        column = part.pop(name, None)
        if name == "text":
            sentences = column if is_text(column) else part.pop("raw_text", None)
            column = sentences if source == "raw" else None if is_text(column) else column
        if column is None:
            continue
        if len(column) != len(ids):
            raise DataError(f"{name} has {len(column)} rows for {len(ids)} ids; every sample needs one row")
        rows[name] = column
    return rows


def _modalities(rows: dict[str, dict[str, Any]], wanted: list[str], source: str) -> tuple[Modality, ...]:
    """Return the modalities that at least one split has."""
    found = []
    for name in wanted:
        column = next((of[name] for of in rows.values() if name in of and len(of[name])), None)
        if name == "text" and source == "raw" and column is not None:
            found.append(Modality("text", "text"))
        elif column is not None:
            found.append(infer_modality(name, column[0], normalize=name != "text"))
    if not found:
        raise DataError(f"the file has no {' or '.join(wanted)} for any sample; choose others with ?modalities=...")
    return tuple(found)


def _lengths(
    part: Part, rows: dict[str, Any], schema: Schema, ids: list[str], split: str, notes: list[str]
) -> dict[str, Array]:
    """Return the true lengths (samples,) of the sequences of a split: as stored, else without zeros at the end."""
    lengths, trimmed = {}, []
    for modality in [m for m in schema.modalities if m.kind == "sequence" and m.name in rows]:
        name = modality.name
        stored = _mask_sums(part) if name == "text" else part.get(f"{name}_lengths")
        arrays = (features(row, modality, sample) for row, sample in zip(rows[name], ids, strict=True))
        if stored is not None:
            lengths[name] = _stored_lengths(stored, arrays, name, ids, split)
        else:
            lengths[name] = np.array([trimmed_length(a) for a in arrays])
            trimmed.append(name)
    if trimmed:
        notes.append(f"lengths of {' and '.join(trimmed)} are not stored: steps of zeros at the end were cut off")
    if trimmed and len(lengths) > 1 and _same_steps([rows[n] for n in lengths]):
        # Word-aligned: a step without a face must not make vision shorter than text.
        longest = np.max(list(lengths.values()), axis=0)
        lengths.update({n: np.where(lengths[n] > 0, longest, 0) for n in trimmed})
        notes.append("all sequences are padded to one length: taken as aligned, none is cut shorter than the rest")
    return lengths


def _same_steps(columns: list[Any]) -> bool:
    return all(isinstance(c, np.ndarray) and c.ndim == 3 and c.shape[1] == columns[0].shape[1] for c in columns)


def _mask_sums(part: Part) -> Array | None:
    """Return the number of tokens per sample, from the attention mask in ``text_bert`` (N, 3, time)."""
    tokens = part.get("text_bert")
    if tokens is None:
        return None
    array = as_array(tokens, "text_bert")
    if array.ndim != 3 or array.shape[1] != 3:
        raise DataError(f"text_bert has shape {array.shape}, expected (samples, 3, time): ids, mask, token types")
    # Not argmin: that is 0 for a sentence without padding.
    return (array[:, 1] > 0.5).sum(axis=1)


def _stored_lengths(stored: Any, rows: Iterable[Array], name: str, ids: list[str], split: str) -> Array:
    raw = numbers(stored, f"lengths of {name}", ids, split)
    for length, row, sample in zip(raw, rows, ids, strict=True):
        if not 0 <= length <= len(row) or length % 1:
            raise DataError(
                f"sample {sample!r}: the length of {name} is {length:g}, but its array has {len(row)} steps; "
                f"lengths must be whole numbers from 0 to that"
            )
    return raw.astype(np.int64)


def _split(
    schema: Schema,
    ids: list[str],
    rows: dict[str, Any],
    lengths: dict[str, Array],
    labels: dict[str, Array],
    tally: Tally,
) -> Split:
    """Build one modality after the other, so that each array is freed once it is converted."""
    split = Split(ids, {}, {}, {})
    for modality in schema.modalities:
        name = modality.name
        column: list[Any] = [None] * len(ids)
        if name in rows:
            column = _cut(rows.pop(name), modality, lengths.get(name), ids)
            tally.non_finite(name, column if modality.kind != "text" else [])
        one = build_split(replace(schema, modalities=(modality,)), ids, {name: column}, labels, groups_of(ids))
        split = replace(one, columns={**split.columns, **one.columns}, present={**split.present, **one.present})
    return split


def _cut(rows: Any, modality: Modality, lengths: Array | None, ids: list[str]) -> list[Any]:
    if modality.kind == "text":
        return [text_of(row, f"text of sample {sample!r}") for row, sample in zip(rows, ids, strict=True)]
    arrays = [features(row, modality, sample) for row, sample in zip(rows, ids, strict=True)]
    return arrays if lengths is None else [a[:n] for a, n in zip(arrays, lengths, strict=True)]
