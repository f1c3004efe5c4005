"""Computational sequences of the CMU Multimodal SDK (``.csd``, HDF5).

One file holds one kind of features for all videos, ``<name>/data/<video>/{features, intervals}``: values (steps, width)
and the seconds (steps, 2) each step covers. A corpus is a folder of such files, one of them with the labels: its
intervals are the samples. Layout: Zadeh et al., ACL 2018 (CMU-MOSEI and the SDK).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError, Modality, Schema, Target, derive_seed
from polymodal.core.options import Bounds
from polymodal.data.columns import (
    SENTIMENT,
    Tally,
    check_range,
    choose,
    corpus_name,
    features,
    infer_modality,
    split_name,
    word_of,
)
from polymodal.data.corpus import Corpus
from polymodal.data.csd_files import PAUSES, Track, describe, opened, printable, read_entry, tracks
from polymodal.data.ragged import Array
from polymodal.data.split import build_split

__all__ = ["describe", "read"]


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a video: ``key`` is its entry in the label file, ``number`` its row there."""

    key: str
    number: int
    start: float
    end: float
    label: float

    @property
    def video(self) -> str:
        """The video it is cut from."""
        return self.key.split("[")[0]

    @property
    def name(self) -> str:
        """``video[number]``, as the SDK names aligned segments."""
        return self.key if "[" in self.key else f"{self.key}[{self.number}]"


def read(
    path: Path,
    *,
    split: str | None = None,
    range: Bounds = SENTIMENT,
    modalities: tuple[str, ...] | None = None,
) -> Corpus:
    """Return the corpus in a folder of ``.csd`` files, cut at the intervals of the labels.

    A step belongs to the segment in which the middle of its interval lies. Words are joined to a string, pauses left
    out. The target ``sentiment`` is the first column of the labels.

    Args:
        path: the folder.
        split: JSON file ``{"train": [videos], "valid": [...], "test": [...]}``, in the folder or anywhere; None orders
            the videos by a hash of their names and takes 70, 10 and 20 %.
        range: lowest and highest label.
        modalities: names to read; None for all.

    Raises:
        DataError: no labels, a damaged file, a video in two splits, a label out of range.
    """
    found = tracks(path)
    labels = [s for s in found if s.role == "labels"]
    if len(labels) != 1:
        raise DataError(
            f"{path} has {len(labels)} label files among {len(found)} sequences; a corpus is a folder of .csd files of "
            "which exactly one has 'label' or 'opinion' in its name (to look at one file: polymodal data info FILE.csd)"
        )
    roles = [s.role for s in found if s.role != "labels"]
    wanted = choose(modalities, roles)
    notes: list[str] = []
    segments = _segments(labels[0], notes)
    columns: dict[str, Sequence[Any]] = {s.role: _cut(s, segments) for s in found if s.role in wanted}
    found_modalities = [_modality(role, column) for role, column in columns.items()]
    schema = Schema(tuple(found_modalities), (Target("sentiment", "regression", range),))
    tally, splits = Tally(), {}
    for modality in found_modalities:
        if modality.kind != "text":
            column = zip(columns[modality.name], segments, strict=True)
            rows = [None if row is None else features(row, modality, segment.name) for row, segment in column]
            columns[modality.name] = rows
            tally.non_finite(modality.name, rows)
    for name, chosen in _splits(path, segments, split, notes).items():
        ids = [segments[i].name for i in chosen]
        target = np.array([segments[i].label for i in chosen], np.float32)
        check_range(target, ids, range)
        part: dict[str, Sequence[Any]] = {n: [column[i] for i in chosen] for n, column in columns.items()}
        splits[name] = build_split(schema, ids, part, {"sentiment": target}, [segments[i].video for i in chosen])
    return Corpus(corpus_name(path), str(path), schema, splits, (*notes, *tally.notes()))


def _segments(labels: Track, notes: list[str]) -> list[Segment]:
    found, widest = [], 1
    with opened(labels.file) as content:
        for key, group in content[labels.root]["data"].items():
            values, intervals = read_entry(group, labels.file)
            widest = max(widest, values.shape[1])
            for i, (row, (start, end)) in enumerate(zip(values.astype(np.float64), intervals, strict=True)):
                found.append(Segment(printable(key), i, float(start), float(end), float(row[0])))
    if widest > 1:
        notes.append(f"the labels have {widest} columns; the first one is taken as sentiment")
    if not found:
        raise DataError(f"{labels.file} has no entries; a corpus needs labels")
    return found


def _cut(sequence: Track, segments: list[Segment]) -> list[Any]:
    """Return one row per segment: (steps, width), a string for words, None where the sequence has nothing."""
    rows: list[Any] = []
    with opened(sequence.file) as content:
        data = content[sequence.root]["data"]
        stored = {printable(key): key for key in data}
        last: tuple[str, Array, Array] | None = None
        for segment in segments:
            # Aligned files have an entry per segment, the others one per video.
            whole = segment.name in stored
            key = segment.name if whole else segment.video
            if key not in stored:
                rows.append(None)
                continue
            if last is None or last[0] != key:
                last = (key, *read_entry(data[stored[key]], sequence.file))
            values, middle = last[1], last[2].mean(axis=1)
            rows.append(_row(values if whole else values[(middle >= segment.start) & (middle < segment.end)]))
    return rows


def _row(values: Array) -> Any:
    if not len(values):
        return None
    if values.dtype.kind in "SOU":
        words = (word_of(value, "a word") for value in values[:, 0])
        return " ".join(w for w in words if w is not None and w not in PAUSES) or None
    return values.astype(np.float32)


def _modality(role: str, column: Sequence[Any]) -> Modality:
    first = next((row for row in column if row is not None), None)
    if first is None:
        raise DataError(
            f"no step of {role} lies in any labelled segment; check that both files name the videos alike, or leave it "
            "out with ?modalities=..."
        )
    return Modality(role, "text") if isinstance(first, str) else infer_modality(role, first, normalize=role != "text")


def _splits(path: Path, segments: list[Segment], split: str | None, notes: list[str]) -> dict[str, list[int]]:
    """Return split name -> numbers of its segments."""
    videos = sorted({s.video for s in segments}, key=lambda v: derive_seed("csd split", v))
    if split is None:
        parts = _hashed(videos)
        notes.append("videos were split 70/10/20 by a hash of their names; give the usual split with ?split=FILE.json")
    else:
        parts = _listed(path, split)
        unknown = set(videos) - {v for of in parts.values() for v in of}
        if unknown:
            notes.append(f"{len(unknown)} of {len(videos)} videos are in no split and were left out")
    rows: dict[str, list[int]] = {}
    for name, members in parts.items():
        chosen = set(members)
        rows[name] = [i for i, s in enumerate(segments) if s.video in chosen]
    return rows


def _hashed(videos: list[str]) -> dict[str, list[str]]:
    valid, test = max(1, round(0.1 * len(videos))), max(1, round(0.2 * len(videos)))
    if len(videos) < 3:
        raise DataError(f"{len(videos)} videos cannot be split into train, valid and test; give ?split=FILE.json")
    train = len(videos) - valid - test
    return {"train": videos[:train], "valid": videos[train : train + valid], "test": videos[train + valid :]}


def _listed(path: Path, split: str) -> dict[str, list[str]]:
    file = path / split if (path / split).is_file() else Path(split)
    try:
        listed = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"split file {file} cannot be read: {error.strerror or error}; check ?split=...") from None
    except (ValueError, RecursionError):
        raise DataError(
            f"split file {file} is not JSON; it must be {{'train': [videos], 'valid': [...], ...}}"
        ) from None
    if not isinstance(listed, dict) or not all(isinstance(of, list) for of in listed.values()):
        raise DataError(f"split file {file} must be {{'train': [videos], 'valid': [...], 'test': [...]}}")
    parts: dict[str, list[str]] = {}
    for name, videos in listed.items():
        if split_name(name) in parts:
            raise DataError(
                f"split file {file} has split {split_name(name)!r} twice, once as {name!r}; remove one of them"
            )
        parts[split_name(name)] = [str(v) for v in videos]
    video, times = max(
        Counter(v for of in parts.values() for v in set(of)).items(), key=lambda kv: kv[1], default=("", 0)
    )
    if times > 1:
        raise DataError(f"split file {file} has video {video!r} in two splits; a video belongs to one")
    return parts
