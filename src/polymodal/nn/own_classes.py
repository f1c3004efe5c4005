"""Soft labels of single modalities, made from the classes of the whole and from where its features lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from polymodal.core import Batch, Target
from polymodal.nn.correction import LabelCodes
from polymodal.nn.sample_memory import SampleMemory, momentum

MOST = 0.5
"""Share of a new label that prototypes may have at the end of training."""

TINY = 1e-6


class OwnClasses(SampleMemory):
    """For classes what ``OwnLabels`` is for numbers: ``(1 - b) y + b q`` in the place of the label y.

    q is how well the features of a modality go with the prototype of each class, the mean of all remembered samples
    with that class: a softmax of minus the squared distances over their mean within a class; where any of several
    classes may hold, of two prototypes for each. b rises from 0 to ``MOST``. Labels move with ``momentum`` from a
    sample's second visit on. Stream 0 stands for the whole and has no features.

    Args:
        targets: with classes.
        widths: features of each modality.
    """

    def __init__(self, targets: Sequence[Target], widths: Sequence[int]) -> None:
        codes = LabelCodes(targets)
        super().__init__([0, *widths], sum(code.width for code in codes))
        self.codes, self.targets = codes, tuple(targets)

    def fill(self, batches: Iterable[Batch]) -> None:
        """Make room for the samples of ``batches`` that have all labels, the same labels for every stream."""
        ids: list[str] = []
        found = []
        for batch in batches:
            judged, labels = self._judged(batch)
            ids += [batch.ids[i] for i in judged.nonzero()[:, 0].tolist()]
            found.append(labels[judged])
        if ids:
            self.remember(ids, torch.cat(found))

    def own(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which samples have a label for every target, (batch,) bool, and the labels of every stream of those,
        (judged, streams, values), as probabilities; what is not remembered has the label of the whole."""
        judged, labels = self._judged(batch)
        own = labels[judged][:, None].repeat(1, len(self.widths), 1)
        known, rows = self._rows(batch, judged)
        own[known] = self.labels[rows]
        return judged, own

    def losses(self, batch: Batch, found: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        """Return ``unimodal_<n>``, the loss of every modality's own prediction on its own labels; then move these on.

        A loss weighs the probability that q gives to other classes than that of the whole, and 0 before the second
        visit.

        Args:
            batch: a training batch.
            found: features ``<n>`` (batch, width), and logits ``y_<n>`` (batch, values).
            share: part of the training that is done.
        """
        judged, own = self.own(batch)
        known, rows = self._rows(batch, judged)
        present = batch.present[judged]
        losses, old, features = {}, self.labels[rows], [own.new_zeros(len(rows), 0)]
        visits = self.visits[rows, 1:] + present[known]
        moved = [old[:, 0]]
        for i, name in enumerate(batch.streams, start=1):
            x = found[name].detach().float()[judged][known]
            q, usable = self.posterior(x, i)
            seen = (visits[:, i - 1] > 1) & present[known, i - 1]
            weight = own.new_zeros(len(own), len(self.targets))
            weight[known] = self._doubt(q, own[known, 0]) * seen[:, None] * usable
            error = self._errors(found[f"y_{name}"].float()[judged], own[:, i])
            losses[f"unimodal_{name}"] = (weight * error).sum() / max(1, error.numel())
            blend = MOST * share
            new = momentum(old[:, i], (1 - blend) * old[:, 0] + blend * q, visits[:, i - 1, None])
            moved.append(torch.where(seen[:, None] & self._spread(usable), new, old[:, i]))
            features.append(x)
        everyone = torch.cat([present.any(1, keepdim=True), present], dim=1)[known]
        self.store(rows, features, torch.stack(moved, dim=1), everyone)
        return losses

    @torch.no_grad()
    def posterior(self, features: Tensor, stream: int) -> tuple[Tensor, Tensor]:
        """Return q (batch, values) of ``features`` (batch, width), and of which targets it says something, (targets,)
        bool: those of which samples with and without a class were seen."""
        seen = self.visits[:, stream] > 0
        memory = self.features.split(self.widths, dim=1)[stream][seen]
        parts, usable = [], []
        for code, labels in zip(self.codes, self._split(self.labels[seen, 0]), strict=True):
            sides = torch.stack(
                [labels] if code.answer == "class" else [labels, 1 - labels]
            )  # (sides, samples, classes)
            counts = sides.sum(1)
            # Half precision would blur the prototypes, and with them every label.
            with torch.autocast(features.device.type, enabled=False):
                centres = sides.transpose(1, 2) @ memory / counts.clamp(min=1).unsqueeze(2)
                distance = torch.stack([torch.cdist(features, c).square() for c in centres])
                within = torch.stack([torch.cdist(memory, c).square() for c in centres])
            spread = (within * sides).sum((0, 1)) / counts.sum(0).clamp(min=1)
            if code.answer == "class":
                logits = -distance[0] / (spread * counts[0]).sum().div(counts.sum().clamp(min=1)).clamp(min=TINY)
                parts.append(logits.masked_fill(counts[0] == 0, torch.finfo(logits.dtype).min).softmax(-1))
                usable.append((counts[0] > 0).sum() > 1)
            else:
                parts.append(((distance[1] - distance[0]) / spread.clamp(min=TINY)).sigmoid())
                usable.append((counts > 0).all())
        return torch.cat(parts, dim=1), torch.stack(usable)

    def alike(self, own: Tensor) -> Tensor:
        """Return how probable it is that two labels (n, values) are the same, ``(n, n)``, the mean over targets."""
        found = []
        for code, y in zip(self.codes, self._split(own), strict=True):
            same = y @ y.T if code.answer == "class" else (y[:, None] * y + (1 - y[:, None]) * (1 - y)).prod(-1)
            found.append(same)
        return torch.stack(found).mean(0)

    def _judged(self, batch: Batch) -> tuple[Tensor, Tensor]:
        codes, known = zip(*(code(batch) for code in self.codes), strict=True)
        return torch.stack(known).all(0), torch.cat(codes, dim=1)

    def _rows(self, batch: Batch, judged: Tensor) -> tuple[Tensor, Tensor]:
        return self.find([batch.ids[i] for i in judged.nonzero()[:, 0].tolist()])

    def _split(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split([code.width for code in self.codes], dim=-1)

    def _spread(self, flags: Tensor) -> Tensor:
        """Return flags of targets as flags of values."""
        return flags.repeat_interleave(torch.tensor([code.width for code in self.codes], device=flags.device))

    def _doubt(self, q: Tensor, label: Tensor) -> Tensor:
        """Return the probability that q gives to other answers than the label, (batch, targets)."""
        parts = zip(self.codes, self._split((q - label).abs()), strict=True)
        return torch.stack([gap.sum(1) / 2 if code.answer == "class" else gap.mean(1) for code, gap in parts], dim=1)

    def _errors(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of each sample and target, (batch, targets)."""
        parts = zip(self.codes, self._split(logits), self._split(label), strict=True)
        return torch.stack([code.loss(x, y) for code, x, y in parts], dim=1)
