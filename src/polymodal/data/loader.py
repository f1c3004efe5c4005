"""Batches of samples of similar length, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from polymodal.core import Batch, DataError, Schema, Stream, numpy_rng
from polymodal.data.ragged import Array, Ragged
from polymodal.data.split import Split
from polymodal.data.standardise import Normalizer

POOL = 32
"""Batches per pool: samples are shuffled, cut into pools of POOL batches, and sorted by length inside each pool."""


class Loader:
    """Cuts a split into batches.

    Args:
        split: the samples.
        schema: its schema.
        batch_size: samples per batch over all processes.
        normalizer: statistics applied to every row; None leaves features as they are.
        shuffle: a new order each epoch; otherwise sorted by length.
        seed: with ``epoch`` decides the order.
        bucket: group samples of similar length, so that little of a batch is padding. Without it, batches are random
            and padded to the longest sample of the split, as the field's tools do (kept for the benchmark).
        drop_last: leave out a last, smaller batch (random samples, different ones each epoch).
        balance: ``domain``, ``class`` (of the first target) or ``cell`` (class in a domain) for as many samples of each
            in every shuffled batch; what is rare is repeated, and a batch holds a few samples less where its size
            cannot be shared out.

    Raises:
        DataError: nothing to balance by: no domains, or a first target without classes.
    """

    def __init__(
        self,
        split: Split,
        schema: Schema,
        batch_size: int,
        *,
        normalizer: Normalizer | None = None,
        shuffle: bool = False,
        seed: int = 0,
        bucket: bool = True,
        drop_last: bool = False,
        balance: str = "",
    ) -> None:
        self.split, self.schema, self.batch_size = split, schema, batch_size
        self.normalizer = normalizer or Normalizer({}, {})
        self.shuffle, self.seed, self.bucket = shuffle, seed, bucket
        self.drop_last = drop_last and len(split) >= batch_size
        self._strata = _strata(split, schema, balance) if balance else []
        self._groups = np.unique(list(split.groups), return_inverse=True)[1] if len(split.groups) else None
        self._cost = np.zeros(len(split), np.int64)
        for column in split.columns.values():
            if isinstance(column, Ragged):
                self._cost += column.lengths * column.width
            else:
                self._cost += np.array([len(column[i]) for i in range(len(column))], np.int64)
        self._longest = {n: int(c.lengths.max(initial=1)) for n, c in split.columns.items() if isinstance(c, Ragged)}

    def __len__(self) -> int:
        """Batches per epoch."""
        rows, size = len(self.split), self.batch_size
        return rows // size if self.drop_last else -(-rows // size)

    def plan(self, epoch: int) -> list[Array]:
        """Return the row numbers of every batch of ``epoch``; a pure function of seed and epoch."""
        rows, size = np.arange(len(self.split)), self.batch_size
        if not self.shuffle:
            rows = rows[np.argsort(self._cost, kind="stable")] if self.bucket else rows
            return [rows[i : i + size] for i in range(0, len(rows), size)]
        rng = numpy_rng("order", self.seed, epoch)
        if self._strata:
            return self._balanced(rng)
        rows = rng.permutation(rows)
        if self.drop_last:
            rows = rows[: len(self) * size]
        if not self.bucket:
            return [rows[i : i + size] for i in range(0, len(rows), size)]
        batches = []
        for start in range(0, len(rows), size * POOL):
            pool = rows[start : start + size * POOL]
            pool = pool[np.argsort(self._cost[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def _balanced(self, rng: np.random.Generator) -> list[Array]:
        """Return batches with as many rows of each stratum, drawn in shuffled rounds, similar lengths together."""
        count, quota = len(self), max(1, self.batch_size // len(self._strata))
        parts = []
        for members in self._strata:
            rounds = -(-count * quota // len(members))
            rows = np.concatenate([rng.permutation(members) for _ in range(rounds)])[: count * quota]
            pools = np.split(rows, range(quota * POOL, len(rows), quota * POOL)) if self.bucket else [rows]
            if self.bucket:
                pools = [pool[np.argsort(self._cost[pool], kind="stable")] for pool in pools]
            parts.append(np.concatenate(pools).reshape(count, quota))
        batches = np.concatenate(parts, axis=1)
        return [batches[i] for i in rng.permutation(count)]

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from number ``start`` on (nothing is read for the skipped ones)."""
        for rows in self.plan(epoch)[start:]:
            yield self.batch(rows)

    def batch(self, rows: Array) -> Batch:
        """Return the samples ``rows`` as one batch, padded to its longest member."""
        split = self.split
        streams = {}
        for modality in self.schema.modalities:
            name = modality.name
            column = split.columns[name]
            present = torch.from_numpy(split.present[name][rows])
            if not isinstance(column, Ragged):
                streams[name] = Stream([column[int(r)] for r in rows], None, present)
                continue
            lengths = column.lengths[rows]
            steps = max(1, int(lengths.max(initial=1))) if self.bucket else self._longest[name]
            tensor = torch.from_numpy(self._padded(name, column, rows, steps))
            if modality.kind in ("vector", "image"):
                streams[name] = Stream(tensor[:, 0], None, present)
            else:
                streams[name] = Stream(tensor, torch.from_numpy(lengths), present)
        targets = {name: torch.from_numpy(labels[rows]) for name, labels in split.targets.items()}
        domain = None if split.domains is None else torch.from_numpy(split.domains[rows])
        group = None if self._groups is None else torch.from_numpy(self._groups[rows])
        return Batch(streams, targets, [split.ids[int(r)] for r in rows], domain, group)

    def _padded(self, name: str, column: Ragged, rows: Array, steps: int) -> Array:
        """Return the standardised ``rows`` of a modality, ``(rows, steps, *step)``, zeros behind each."""
        values = np.zeros((len(rows), steps, *column.step), np.float32)
        lengths = column.lengths[rows]
        if name not in self.normalizer.mean or len(column.step) > 1:
            for out, row, length in zip(values, rows, lengths, strict=True):
                self.normalizer.apply(name, column[int(row)], out[:length])
            return values
        # All rows in one go: a row of features is short, and NumPy's own cost per call would be most of it.
        whole = np.concatenate([column[int(row)] for row in rows])
        standardised = np.empty(whole.shape, np.float32)
        self.normalizer.apply(name, whole, standardised)
        values[np.arange(steps) < lengths[:, None]] = standardised
        return values


def _strata(split: Split, schema: Schema, balance: str) -> list[Array]:
    """Return the rows of each domain, class or both that ``split`` has; unknown classes are one of their own."""
    codes = []
    if balance in ("domain", "cell"):
        if split.domains is None:
            raise DataError(
                f"balance {balance!r} needs a corpus with domains; join several with mix:a.pkl,b.pkl, or take them "
                "from a column with ?domain=COLUMN"
            )
        codes.append(split.domains)
    if balance in ("class", "cell"):
        target = schema.joint_targets[0]
        codes.append(split.targets[target.name])
        if codes[-1].ndim != 1 or not np.issubdtype(codes[-1].dtype, np.integer):
            raise DataError(
                f"balance {balance!r} needs one class per sample, {target.name!r} is a {target.task}; "
                "choose another balance"
            )
    number = np.unique(np.stack(codes), axis=1, return_inverse=True)[1].ravel()
    return [np.flatnonzero(number == n) for n in range(number.max() + 1)]
