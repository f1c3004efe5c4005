"""What a run says of samples that nobody has labelled, with all that helps to choose among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from polymodal.audit.base import Panel
from polymodal.audit.panels import members_of
from polymodal.core import Batch, Schema, Target
from polymodal.data.ragged import Array
from polymodal.methods.linear import Linear
from polymodal.predict.choose import disagreement, entropy, yes_or_no
from polymodal.train.run import Run

BUCKETS = 128
"""Hash buckets of words in features that samples are compared by."""

MOST = 4000
"""Training samples that others are compared with; of more, every so-manieth one."""

LEVEL = 0.9
"""Of the intervals of a regression."""


@dataclass
class Asked:
    """What was said of samples, row by row.

    Attributes:
        said: target -> (rows, outputs): values, or probabilities.
        single: target -> modality -> the same, with that modality alone.
        present: modality -> (rows,) bool.
        uncertainty, conflict: (rows,), means over targets.
        features: (rows, width), standardised by training, every modality of the same weight.
    """

    said: dict[str, Array]
    single: dict[str, dict[str, Array]]
    present: dict[str, Array]
    uncertainty: Array
    conflict: Array
    features: Array

    @classmethod
    def joined(cls, parts: Sequence[Asked]) -> Asked:
        """Return the rows of ``parts``, one or more, one after another."""
        first = parts[0]
        return cls(
            {t: np.concatenate([p.said[t] for p in parts]) for t in first.said},
            {t: {n: np.concatenate([p.single[t][n] for p in parts]) for n in of} for t, of in first.single.items()},
            {n: np.concatenate([p.present[n] for p in parts]) for n in first.present},
            np.concatenate([p.uncertainty for p in parts]),
            np.concatenate([p.conflict for p in parts]),
            np.concatenate([p.features for p in parts]),
        )


@dataclass
class Asker:
    """Asks the members of a run about batches.

    Attributes:
        run: with finished seeds.
        members: of the run, each for itself.
        varied: whether uncertainty tells samples apart; with one member, a regression's does not.
    """

    run: Run
    members: list[Panel] = field(init=False)

    def __post_init__(self) -> None:
        self.members = members_of(self.run)
        self._pool = Pool(self.run.schema)

    @property
    def varied(self) -> bool:
        """See the class."""
        return len(self.members) > 1 or any(t.spec.answer != "number" for t in self.run.schema.joint_targets)

    def learn(self, batches: Iterable[Batch]) -> Array:
        """Take the training samples as the scale of features, and return theirs; at most ``MOST``."""
        return self._pool.fit(batches)

    def ask(self, batch: Batch) -> Asked:
        """Return what is said of ``batch``."""
        schema = self.run.schema
        present = {n: batch[n].present.numpy() for n in schema.names}
        whole = self._said(batch)
        alone = {n: self._said(batch.without(*(o for o in schema.names if o != n))) for n in schema.names}
        said = {t: values.mean(0) for t, values in whole.items()}
        single = {t.name: {n: alone[n][t.name].mean(0) for n in schema.names} for t in schema.joint_targets}
        unsure = [self._unsure(t, whole[t.name], batch.present.numpy()) for t in schema.joint_targets]
        apart = [disagreement(single[t.name], present, _scale(t)) for t in schema.joint_targets]
        return Asked(
            said,
            single,
            present,
            np.mean(unsure, axis=0),
            np.mean(apart, axis=0),
            self._pool.of(batch),
        )

    def _said(self, batch: Batch) -> dict[str, Array]:
        """Return target -> (members, rows, outputs)."""
        told = [member(batch) for member in self.members]
        return {
            t.name: np.stack([one[t.name].double().numpy().reshape(len(batch), -1) for one in told])
            for t in self.run.schema.joint_targets
        }

    def _unsure(self, target: Target, said: Array, present: Array) -> Array:
        mean = said.mean(0)
        if target.spec.answer == "class":
            return entropy(mean)
        if target.spec.answer == "classes":
            return yes_or_no(mean)
        # Half an interval, as validation has measured it for what is there, and as members differ.
        known, names = self.run.calibration, self.run.schema.names
        there = [tuple(n for n, p in zip(names, row, strict=True) if p) for row in present.tolist()]
        half = {t: (known.half_width(target.name, t, LEVEL) if known else None) or 0.0 for t in set(there)}
        wide = np.array([half[t] for t in there])
        found: Array = np.hypot(wide, 1.645 * said[..., 0].std(0)) / _scale(target)
        return found


def _scale(target: Target) -> float:
    if target.spec.answer == "number":
        low, high = target.range or (0.0, 1.0)
        return max(high - low, 1e-9)
    return 2.0 if target.spec.answer == "class" else float(len(target.classes))


class Pool:
    """One vector per sample, as the linear baseline pools it; standardised, every modality of the same weight.

    Args:
        schema: what the batches hold.

    Attributes:
        widths: of the modalities, in the order of the schema.
    """

    def __init__(self, schema: Schema) -> None:
        self._linear = Linear(schema, buckets=BUCKETS)
        self.widths = self._linear.widths
        self._weight = np.concatenate([np.full(w, w**-0.5) for w in self.widths])
        self._mean, self._deviation = np.zeros(sum(self.widths)), np.ones(sum(self.widths))

    def fit(self, batches: Iterable[Batch]) -> Array:
        """Take the scale of ``batches`` and return their vectors, at most ``MOST`` of them."""
        parts = [self._raw(batch) for batch in batches]
        x, present = (np.concatenate(p) for p in zip(*parts, strict=True))
        count = np.maximum(present.sum(0), 1)
        self._mean = (x * present).sum(0) / count
        deviation = np.sqrt((((x - self._mean) ** 2) * present).sum(0) / count)
        self._deviation = np.where(deviation > 1e-6, deviation, 1.0)
        rows = slice(None, None, -(-len(x) // MOST))
        return self._scaled(x[rows], present[rows])

    def of(self, batch: Batch) -> Array:
        """Return the vectors of ``batch``; an absent modality lies at the mean of training."""
        return self._scaled(*self._raw(batch))

    @torch.inference_mode()
    def _raw(self, batch: Batch) -> tuple[Array, Array]:
        values, present = self._linear.pool(batch)
        return values.double().numpy(), present.numpy()

    def _scaled(self, values: Array, present: Array) -> Array:
        # Far-off values of a single feature would make all distances theirs.
        apart = np.clip((values - self._mean) / self._deviation, -5, 5)
        return np.asarray(apart * present * self._weight)
