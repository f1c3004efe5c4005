"""What the members of a run say about one target of any batch, and how unsure that is: no corpus is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from polymodal.audit.base import Panel
from polymodal.cascade.folder import Basis
from polymodal.cascade.routing import Answers, Array
from polymodal.cascade.uncertainty import entropy, sharpened, spread
from polymodal.core import Batch, Target
from polymodal.nn.bins import OrderedBins, bins_of
from polymodal.train.run import Run


@dataclass(frozen=True)
class Sureness:
    """How a run's uncertainty is made, learned on a validation split.

    Attributes:
        basis: entropy of its ``classes``, entropy of its ``bins`` (see ``nn.bins``), or, for other numbers, the spread
            over its ``members`` and the interval that was measured for the modalities that are there.
        temperature: of classes or bins.
        scale: half the width of the scale, by which the spread is divided.
    """

    basis: Basis
    temperature: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class Said:
    """What members say, in the order of the batches.

    Attributes:
        ids: names of the samples.
        values: ``(members, samples)`` numbers.
        shares: ``(samples, K)`` mean probabilities of classes or bins; None where there are none.
        half_widths: ``(samples,)`` half the interval that holds half of all labels, by what is there; 0 if not known.
    """

    ids: list[str]
    values: Array
    shares: Array | None
    half_widths: Array

    def of(self, ids: Sequence[str]) -> Said:
        """Return the same of the samples ``ids``, in their order."""
        where = {name: row for row, name in enumerate(self.ids)}
        rows = np.array([where[name] for name in ids])
        shares = None if self.shares is None else self.shares[rows]
        return Said(list(ids), self.values[:, rows], shares, self.half_widths[rows])


class Voice:
    """A run that is asked about one target.

    Args:
        run: the mean of its members answers.
        target: a number or one of several classes.
        panel: those members, where they are loaded already. It takes batches that are standardised, except for a run of
            folds, whose members standardise themselves (``audit.panels.panel_of``).

    Attributes:
        bins: those that members answer in.
    """

    def __init__(self, run: Run, target: Target, panel: Panel) -> None:
        self.run, self.target, self.panel = run, target, panel
        self.bins: list[OrderedBins] = [b for m in panel.methods if (b := bins_of(m, target.name)) is not None]
        self._calibration = run.calibration

    @property
    def basis(self) -> Basis:
        """What uncertainty rests on."""
        if self.target.spec.answer == "class":
            return "classes"
        return "bins" if len(self.bins) == len(self.panel.methods) else "members"

    @torch.inference_mode()
    def said(self, batches: Iterable[Batch]) -> Said:
        """Return what the members say of the samples in ``batches``, of which there is at least one."""
        ids, values, shares, widths = [], [], [], []
        name, read = self.target.name, self.target.spec.columns
        for batch in batches:
            outputs = self.panel.outputs(batch)
            columns = [read(output.predictions[name].float()) for output in outputs]
            values.append(np.stack([c["predicted"].numpy().astype(float) for c in columns]))
            if self.basis == "classes":
                shares.append(np.mean([c["probability"].numpy().astype(float) for c in columns], axis=0))
            elif self.basis == "bins":
                found = [output.representations[f"{name}/bins"].numpy().astype(float) for output in outputs]
                shares.append(np.mean(found, axis=0))
            widths.append(self._half_widths(batch))
            ids += batch.ids
        whole = np.concatenate(shares) if shares else None
        return Said(ids, np.concatenate(values, axis=1), whole, np.concatenate(widths))

    def _half_widths(self, batch: Batch) -> Array:
        if self._calibration is None:
            return np.zeros(len(batch))
        there = [[n for n, p in zip(batch.streams, row, strict=True) if p] for row in batch.present.tolist()]
        found = [self._calibration.half_width(self.target.name, names, 0.5) for names in there]
        return np.array([width or 0.0 for width in found])


def read(said: Said, sure: Sureness) -> Answers:
    """Return what was said as answers, in the same order."""
    if said.shares is None:
        return Answers(said.values.mean(0), spread(said.values, said.half_widths, sure.scale))
    y = said.shares.argmax(1).astype(float) if sure.basis == "classes" else said.values.mean(0)
    return Answers(y, entropy(sharpened(said.shares, sure.temperature)))
