"""How unlike its training data a sample is: measured when a run is trained, kept as ``novelty.safetensors``.

Every modality is pooled to plain statistics over time. How far they lie from those of training is the distance of
probabilistic principal components (Tipping & Bishop, 1999): Mahalanobis along the directions in which training varies
most, and with one common variance across the others. No label and no weight of the run takes part.

Distances are compared on the scale of training, and the modality that is furthest off counts. The p value is conformal:
what share of held-out samples is as far off as the new one, itself included? A clip is a new group (speaker, video), so
every group counts as one, shared out among its samples (Lee, Barber & Willett, 2023); where the clip is from the same
population, p <= 0.05 comes about in 5 % of cases at most.

Held out is the validation split. Where it has too few groups for an alarm to be possible, it is training and validation
together, dealt into parts of whole groups, each of which is judged by the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, RunError, Schema
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array
from polymodal.data.split import Split
from polymodal.methods._pooled import pooled, pooled_width
from polymodal.score.intervals import group_numbers
from polymodal.train.checkpoint import load_checkpoint, save_checkpoint
from polymodal.train.density import Density
from polymodal.train.run import Run
from polymodal.train.unlike import ALARM, Unlike

FILE = "novelty.safetensors"

FEWEST = round(1 / ALARM) - 1
"""Groups below which no p value could be that small."""

PARTS = 5
BUCKETS = 128
"""Hash buckets of words."""


class Novelty:
    """What ``novelty.safetensors`` holds.

    Args:
        schema: of the run.
        densities: of the modalities, in the order of the schema.
        distances: ``(samples, modalities)`` of what was held out; NaN where a modality was absent.
        groups: ``(samples,)`` numbers of their groups.
        held_out: what that was, in words.
    """

    def __init__(
        self, schema: Schema, densities: Sequence[Density], distances: Array, groups: Array, held_out: str
    ) -> None:
        self.schema, self.densities, self.held_out = schema, densities, held_out
        self.distances, self.groups = distances, groups

    @classmethod
    def read(cls, run: Run) -> Novelty | None:
        """Return what was measured when ``run`` was trained; None where nothing was, as by older versions.

        Raises:
            RunError: the file is damaged.
        """
        file = run.path / FILE
        if not file.is_file():
            return None
        try:
            tensors, state = load_checkpoint(file)
            if state.get("checksum", _checksum(tensors)) != _checksum(tensors):
                raise RunError("its checksum differs")
            parts = {name: values.double().numpy() for name, values in tensors.items()}
            densities = [Density.from_arrays(parts, n) for n in run.schema.names]
            return cls(run.schema, densities, parts["distances"], parts["groups"].astype(int), state["held_out"])
        except (RunError, KeyError) as error:
            raise RunError(f"{file} cannot be read ({error}); delete it, or make it again with fit --resume") from None

    def write(self, folder: Path) -> None:
        """Write the file into ``folder``; RunError where that cannot be."""
        arrays: dict[str, Array] = {"distances": self.distances, "groups": self.groups.astype(np.int32)}
        for name, density in zip(self.schema.names, self.densities, strict=True):
            arrays |= density.arrays(name)
        tensors = {n: torch.from_numpy(a.astype(np.float32) if a.dtype.kind == "f" else a) for n, a in arrays.items()}
        save_checkpoint(folder / FILE, tensors, {"held_out": self.held_out, "checksum": _checksum(tensors)})

    def only(self, names: Collection[str]) -> Novelty:
        """Return what was measured of the modalities ``names``, as of a run that reads no others."""
        columns = [i for i, n in enumerate(self.schema.names) if n in names]
        kept = [self.densities[i] for i in columns]
        return Novelty(self.schema.only(names), kept, self.distances[:, columns], self.groups, self.held_out)

    def told(self, batch: Batch) -> list[Unlike | None]:
        """Return how unlike training each sample of ``batch`` is, which is as ``run.loader`` makes it without a fold.

        None where nothing is there, or where too few groups that were held out have all that is there.
        """
        return [self._told(row) for row in _distances(self.densities, _pooled(self.schema, [batch]))]

    def _told(self, far: Array) -> Unlike | None:
        there = np.flatnonzero(~np.isnan(far))
        known = self.distances[:, there]
        rows = ~np.isnan(known).any(axis=1)
        number = np.unique(self.groups[rows], return_inverse=True)[1]
        sizes = np.bincount(number)
        if not len(there) or len(sizes) < FEWEST:
            return None
        # The file holds single precision, and equal distances are ties.
        as_far = known[rows].max(axis=1) >= np.float32(far[there].max())
        p = (1 + (as_far / sizes[number]).sum()) / (1 + len(sizes))
        return Unlike(float(p), self.schema.names[there[far[there].argmax()]])


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} ".encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def measure(run: Run, corpus: Corpus) -> Novelty:
    """Return how what ``run`` was trained on lies, and how far off samples are that it was not fitted to.

    Args:
        run: with its statistics; of a run of folds, all that was dealt counts as held out.
        corpus: what it was trained on, encoded.
    """
    splits = [run.dealt(corpus).pooled] if run.crossed else [corpus["train"], corpus["valid"]]
    parts = [_pooled(run.schema, run.loader(corpus, split).epoch()) for split in splits]
    groups = [_groups(split, part.ids) for split, part in zip(splits, parts, strict=True)]
    if not run.crossed and len(np.unique(groups[1])) >= FEWEST:
        densities = _densities(parts[0])
        numbers = group_numbers(len(groups[1]), groups[1])
        return Novelty(run.schema, densities, _distances(densities, parts[1]), numbers, "the validation split")
    whole = Pooled.joined(parts)
    numbers = group_numbers(len(whole.ids), np.concatenate(groups))
    far = np.full(whole.present.shape, np.nan)
    for part in range(PARTS):
        rows = numbers % PARTS == part
        far[rows] = _distances(_densities(whole.select(~rows)), whole.select(rows))
    return Novelty(run.schema, _densities(whole), far, numbers, "parts of all that it was trained with")


class Pooled(NamedTuple):
    """Plain statistics of samples.

    Attributes:
        values: per modality ``(samples, width)``.
        present: ``(samples, modalities)`` bool.
        ids: of the samples.
    """

    values: list[Array]
    present: Array
    ids: list[str]

    @classmethod
    def joined(cls, parts: Sequence[Pooled]) -> Pooled:
        """Return the samples of ``parts`` one after another."""
        values = [np.concatenate(columns) for columns in zip(*(p.values for p in parts), strict=True)]
        return cls(values, np.concatenate([p.present for p in parts]), [name for p in parts for name in p.ids])

    def select(self, rows: Array) -> Pooled:
        """Return ``rows`` (samples,) bool."""
        return Pooled(
            [v[rows] for v in self.values],
            self.present[rows],
            [n for n, kept in zip(self.ids, rows, strict=True) if kept],
        )


@torch.inference_mode()
def _pooled(schema: Schema, batches: Iterable[Batch]) -> Pooled:
    widths = [pooled_width(m, BUCKETS) for m in schema.modalities]
    values, present, ids = [], [], []
    for batch in batches:
        values.append(pooled(batch, schema, BUCKETS)[0].float().cpu().numpy())
        present.append(np.stack([batch[n].present.cpu().numpy() for n in schema.names], axis=1))
        ids += batch.ids
    return Pooled(np.split(np.concatenate(values), np.cumsum(widths)[:-1], axis=1), np.concatenate(present), ids)


def _groups(split: Split, ids: Sequence[str]) -> Array:
    return split.with_groups({"id": np.asarray(ids)}).get("group", np.asarray(ids))


def _densities(known: Pooled) -> list[Density]:
    return [Density.of(v[there]) for v, there in zip(known.values, known.present.T, strict=True)]


def _distances(densities: Sequence[Density], told: Pooled) -> Array:
    far = np.full(told.present.shape, np.nan)
    for column, (density, values) in enumerate(zip(densities, told.values, strict=True)):
        rows = told.present[:, column]
        far[rows, column] = density.distance(values[rows])
    return far


def alarms(told: Collection[Unlike | None]) -> dict[str, Any]:
    """Return ``count`` of samples that could be told and the ``share`` of them that are unlike training."""
    known = [one for one in told if one is not None]
    return {"count": len(known), "share": float(np.mean([one.alarm for one in known])) if known else None}
