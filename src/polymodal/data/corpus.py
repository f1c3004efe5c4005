"""A corpus in memory or memory-mapped: schema, splits, statistics, hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polymodal.core import DataError, Modality, Schema, Target, nearest
from polymodal.data import ratings as rated
from polymodal.data.pixels import at_rest
from polymodal.data.ragged import Array, Ragged
from polymodal.data.split import Column, Split
from polymodal.data.standardise import Normalizer
from polymodal.data.statistics import channel_statistics

Match = Literal["sample", "group"]


@dataclass(frozen=True)
class Corpus:
    """Samples with their labels, split for an honest experiment.

    Attributes:
        name: short name for tables and folders.
        source: the string that ``load_corpus`` turns into this corpus.
        schema: modalities and targets.
        splits: name -> Split; ``train`` and ``valid`` are needed to fit, every other one is a test split.
        notes: what the reader had to decide or repair, one sentence each, shown by ``data info``.
        truth: what a planted corpus knows about itself (latent factors), for tests; empty for real data.
        extraction: how its features were made from clips (see ``media.folder.extract``), so that a run trained on it
            can be applied to a clip; None where that is not known.
        stored_hash, stored_normalizer: written by the store, so that a memory-mapped corpus need not be read for them.
        stored_in: folders of the stores that it is from, for their checksums (see ``data.store.verify``).
    """

    name: str
    source: str
    schema: Schema
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    truth: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    extraction: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    stored_hash: str | None = None
    stored_normalizer: Normalizer | None = field(default=None, repr=False, compare=False)
    stored_in: tuple[Path, ...] = field(default=(), repr=False, compare=False)

    def __getitem__(self, split: str) -> Split:
        try:
            return self.splits[split]
        except KeyError:
            raise DataError(f"{self.source} has no split {split!r}{nearest(split, self.splits)}") from None

    @property
    def test_splits(self) -> tuple[str, ...]:
        """Splits on which results are reported: all but train and valid."""
        return tuple(s for s in self.splits if s not in ("train", "valid"))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over schema, ids, features, presence, labels and ratings (first 16 hex digits)."""
        if self.stored_hash:
            return self.stored_hash
        digest = hashlib.sha256(repr(self.schema).encode())
        # The schema does not show shapes, and features have none: their hashes are older than images.
        digest.update("".join(f"{m.name}{m.shape}" for m in self.schema.modalities if m.shape).encode())
        for name in sorted(self.splits):
            split = self.splits[name]
            digest.update(name.encode())
            for column in [list(split.ids), *split.columns.values()]:
                if isinstance(column, Ragged):
                    digest.update(np.ascontiguousarray(column.lengths).tobytes())
                    for values, offsets in column.chunks:
                        used: Array = np.ascontiguousarray(values[offsets[0] : offsets[-1]], dtype=column.dtype)
                        digest.update(used.data)
                else:
                    digest.update("\x1f".join(column[i] for i in range(len(column))).encode())
            for labels in split.targets.values():
                digest.update(np.ascontiguousarray(labels).tobytes())
            if split.domains is not None:
                digest.update(repr(self.schema.domains).encode() + np.ascontiguousarray(split.domains).tobytes())
            for target, by_rater in sorted(split.ratings.items()):
                for rater, ratings in sorted(by_rater.items()):
                    digest.update(f"{target}@{rater}".encode() + np.ascontiguousarray(ratings).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def normalizer(self) -> Normalizer:
        """Statistics of the training split (present rows, true steps)."""
        if self.stored_normalizer:
            return self.stored_normalizer
        mean: dict[str, Array] = {}
        std: dict[str, Array] = {}
        for modality in self.schema.modalities:
            if modality.kind == "text" or not modality.normalize:
                continue
            column = self["train"].columns[modality.name]
            assert isinstance(column, Ragged)
            mean[modality.name], std[modality.name] = channel_statistics(column)
        return Normalizer(mean, std)

    def check(self) -> Corpus:
        """Return the corpus if it can be trained on; labels of another type than their task's are converted.

        Raises:
            DataError: an empty split, an id that appears twice, pixels of another shape or type than the schema says, a
                label outside its classes or range (names the split and the sample), or a target without any known label
                in train or valid.
        """
        seen: dict[str, str] = {}
        checked: dict[str, Split] = {}
        for name, split in self.splits.items():
            if not len(split):
                raise DataError(f"{self.source}: split {name!r} is empty; remove it or give it samples")
            for sample in split.ids:
                if sample in seen:
                    where = f"twice in {name}" if seen[sample] == name else f"in {seen[sample]} and in {name}"
                    raise DataError(f"{self.source}: id {sample!r} appears {where}; ids must be unique")
                seen[sample] = name
            for modality in self.schema.modalities:
                if modality.shape:
                    _check_pixels(self.source, name, split.columns[modality.name], modality)
            labels = {t.name: _checked_labels(self.source, name, split, t) for t in self.schema.targets}
            ratings = _checked_ratings(self.source, name, split, self.schema)
            if any(split.targets[n].dtype != of.dtype for n, of in labels.items()) or ratings is not split.ratings:
                checked[name] = replace(split, targets={**split.targets, **labels}, ratings=ratings)
        return replace(self, splits={**self.splits, **checked}) if checked else self

    def for_retrieval(self, match: Match = "sample") -> Corpus:
        """Return the corpus with one target instead of its own: which sample goes with it (see ``tasks.retrieval``).

        Args:
            match: what an anchor is to find: the other modalities of the same ``sample``, or of any sample of the same
                ``group`` (video, speaker).

        Raises:
            DataError: no groups are known.
        """
        target, splits = Target("match", "retrieval"), {}
        for name, split in self.splits.items():
            if match == "group" and not len(split.groups):
                raise DataError(f"{self.source}: no groups are known in {name}; leave out match=group")
            same = split.groups if match == "group" else split.ids
            labels = {target.name: np.unique(np.asarray(same), return_inverse=True)[1]}
            splits[name] = replace(split, targets=labels, ratings={})
        told = (f"{name}: {part.targets[target.name].tolist()}" for name, part in splits.items())
        content = self.stored_hash and derived_hash(self.stored_hash, target, match, *told)
        return replace(self, schema=replace(self.schema, targets=(target,)), splits=splits, stored_hash=content)

    def only(self, names: Sequence[str]) -> Corpus:
        """Return the corpus with the modalities ``names`` alone, in their own order, and the targets left then."""
        schema = self.schema.only(names)
        splits = {
            split: replace(
                part,
                columns={n: part.columns[n] for n in schema.names},
                present={n: part.present[n] for n in schema.names},
                targets={t.name: part.targets[t.name] for t in schema.targets},
                ratings={t.name: part.ratings[t.name] for t in schema.targets if t.name in part.ratings},
            )
            for split, part in self.splits.items()
        }
        return replace(self, schema=schema, splits=splits)

    def asking(self, names: Sequence[str]) -> Corpus:
        """Return the corpus with the targets ``names`` alone, in their own order; DataError names the nearest to one
        that is not there."""
        kept = [self.schema.target(name) for name in names]
        schema = replace(self.schema, targets=tuple(t for t in self.schema.targets if t in kept))
        splits = {
            split: replace(
                part,
                targets={t.name: part.targets[t.name] for t in schema.targets},
                ratings={t.name: part.ratings[t.name] for t in schema.targets if t.name in part.ratings},
            )
            for split, part in self.splits.items()
        }
        return replace(self, schema=schema, splits=splits)

    def with_split(self, name: str, split: Split) -> Corpus:
        """Return the corpus with one split added or replaced."""
        return replace(self, splits={**self.splits, name: split}, stored_hash=None, stored_normalizer=None)

    def with_modality(self, modality: Modality, columns: dict[str, Column], how: str) -> Corpus:
        """Return the corpus with the modality of the same name replaced.

        Args:
            modality: what it is now.
            columns: split name -> column.
            how: identifies what was done, so that the new hash follows from the old one without reading ``columns``.
        """
        splits = {
            name: replace(split, columns={**split.columns, modality.name: columns[name]})
            for name, split in self.splits.items()
        }
        schema = self.schema.with_modality(modality)
        content = derived_hash(self.hash, modality, how)
        normalizer = None if modality.normalize else self.stored_normalizer
        return replace(self, schema=schema, splits=splits, stored_hash=content, stored_normalizer=normalizer)


def derived_hash(content: str, *change: object) -> str:
    """Return the hash of what ``change`` makes of a corpus with hash ``content``, without reading it."""
    return hashlib.sha256("\x1f".join([content, *map(str, change)]).encode()).hexdigest()[:16]


def _check_pixels(source: str, split_name: str, column: Column, modality: Modality) -> None:
    chunks = column.chunks if isinstance(column, Ragged) else []
    alike = all((values.shape[1:], values.dtype) == at_rest(modality) for values, _ in chunks)
    most = max(column.lengths, default=0) if isinstance(column, Ragged) and modality.kind == "image" else 0
    if not chunks or not alike or most > 1:
        raise DataError(
            f"{source}: {modality.name} of {split_name} is no column of {modality.kind} of type uint8 and shape "
            f"{modality.shape}; make it with build_split"
        )


def _checked_ratings(source: str, split_name: str, split: Split, schema: Schema) -> rated.Ratings:
    """Return the ratings of ``split``; the same object where they are as they must be."""
    try:
        return rated.unless_equal(split.ratings, rated.checked(schema, split.ratings, split.ids))
    except DataError as error:
        raise DataError(f"{source}, {split_name}: {error}") from None


def _checked_labels(source: str, split_name: str, split: Split, target: Target) -> Array:
    try:
        labels = target.spec.labels(split.targets[target.name], split.ids)
    except DataError as error:
        raise DataError(f"{source}, {split_name}: {error}") from None
    if split_name in ("train", "valid") and not target.spec.known(labels).any():
        raise DataError(
            f"{source}: no sample of {split_name} has a label {target.name!r}; leave the target out, or give labels"
        )
    return labels
