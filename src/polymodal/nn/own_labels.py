"""Predictions of single modalities whose labels are made from the label of the whole (Self-MM, AAAI 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Schema, Target
from polymodal.nn.heads import Heads
from polymodal.nn.sample_memory import SampleMemory, momentum

EPSILON = 1e-8

REACH = (1.0, 3.0)
"""Distance from the neutral point to the end of a scale that the generator's sums and weights are made for: those of
CH-SIMS and CMU-MOSI. Other scales are stretched or shrunk to the nearer of the two."""


class Branch(nn.Module):
    """Three linear maps: ``(batch, width_in)`` -> the first one's features ``(batch, width)``, and predictions."""

    def __init__(self, schema: Schema, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.lower = nn.Sequential(nn.Dropout(dropout), nn.Linear(width_in, width), nn.ReLU())
        self.upper = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.heads = Heads(schema, width)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features and the predictions by target."""
        features = self.lower(x)
        return features, self.heads(self.upper(features))


def relative_position(features: Tensor, centres: Tensor) -> Tensor:
    """Return ``(D_n - D_p) / (D_p + eps)``, above 0 for features nearer to the positive centre than to the negative.

    Args:
        features: ``(batch, width)``.
        centres: ``(2, targets, width)``, of the samples with a label above the neutral point and of those below it.

    Returns:
        ``(batch, targets)``, above -1.
    """
    to_positive, to_negative = ((features[:, None] - centre).norm(dim=2) for centre in centres)
    return (to_negative - to_positive) / (to_positive + EPSILON)


def generate_label(label: Tensor, position: Tensor, fused_position: Tensor, limit: Tensor) -> Tensor:
    """Return the mean of ``y a_s / a_m`` and ``y + a_s - a_m``, clamped to ``limit`` on either side of 0.

    Where ``a_m`` is 0 and the ratio says nothing, the difference alone.

    Args:
        label: y, the label of the whole, relative to the neutral point.
        position: a_s, the relative position of one modality.
        fused_position: a_m, that of the fusion.
        limit: largest magnitude of a label.
    """
    difference = label + position - fused_position
    usable = fused_position.abs() > EPSILON
    ratio = torch.where(usable, label * position / torch.where(usable, fused_position, 1.0), difference)
    return ((ratio + difference) / 2).clamp(-limit, limit)


class OwnLabels(SampleMemory):
    """Labels of single modalities, generated from the label of the whole (Self-MM, Yu et al., AAAI 2021).

    Stream 0 is the fusion, then come the modalities. Labels are relative to the neutral point of their target, in units
    of it.

    Args:
        schema: what the batches hold.
        widths: features of the fusion and of each modality.

    Buffers:
        middle, unit, limit: ``(targets,)``, neutral point, what counts as 1, and largest label in that unit.
    """

    middle: Tensor
    unit: Tensor
    limit: Tensor

    def __init__(self, schema: Schema, widths: Sequence[int]) -> None:
        self.targets: tuple[Target, ...] = schema.joint_targets
        targets = len(self.targets)
        super().__init__(widths, targets)
        self.forgotten(
            {
                "middle": torch.zeros(targets),
                "unit": torch.ones(targets),
                "limit": torch.full((targets,), torch.inf),
            }
        )

    def fill(self, batches: Iterable[Batch]) -> None:
        """Make room for the samples of ``batches`` that have all labels, the same labels for every stream."""
        ids: list[str] = []
        found = []
        for batch in batches:
            judged, labels = self._judged(batch)
            ids += _chosen(batch.ids, judged)
            found.append(labels[judged])
        if not ids:
            return
        device, labels = self.keys.device, torch.cat(found)
        seen = zip(labels.amin(0).tolist(), labels.amax(0).tolist(), strict=True)
        pairs = [target.range or bounds for target, bounds in zip(self.targets, seen, strict=True)]
        bounds = torch.tensor(pairs, dtype=torch.float32, device=device)  # a range may be written in whole numbers
        self.middle, reach = bounds.mean(1), (bounds[:, 1] - bounds[:, 0]) / 2
        self.limit = reach.clamp(*REACH)
        self.unit = torch.where(reach > 0, reach / self.limit, 1.0)
        self.remember(ids, (labels.to(device) - self.middle) / self.unit)

    def own(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which samples have a label for every target, (batch,) bool, and the labels of every stream of those,
        (judged, streams, targets); what is not remembered has the label of the whole."""
        judged, labels = self._judged(batch)
        label = (labels[judged] - self.middle) / self.unit
        own = label[:, None].repeat(1, len(self.widths), 1)
        known, rows = self.find(_chosen(batch.ids, judged))
        own[known] = self.labels[rows]
        return judged, own

    def losses(self, batch: Batch, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``unimodal_<n>``, the error of every modality's own prediction; then move the labels on.

        An error weighs ``tanh`` of how far the modality's label is from that of the whole. Samples without all labels
        are left out.

        Args:
            batch: a training batch.
            found: features ``fused`` and ``<n>`` (batch, width), and own predictions ``y_<n>`` (batch, targets).
        """
        judged, own = self.own(batch)
        present = batch.present[judged]
        losses = {}
        for i, name in enumerate(batch.streams, start=1):
            weight = torch.tanh((own[:, i] - own[:, 0]).abs()) * present[:, i - 1 : i]
            error = (found[f"y_{name}"].float()[judged] - self.middle - self.unit * own[:, i]).abs()
            losses[f"unimodal_{name}"] = (weight * error).sum() / max(1, error.numel())
        known, rows = self.find(_chosen(batch.ids, judged))
        features = [found[n].detach().float()[judged][known] for n in ("fused", *batch.streams)]
        self.update(rows, features, torch.cat([present.any(1, keepdim=True), present], dim=1)[known])
        return losses

    def alike(self, own: Tensor) -> Tensor:
        """Return ``exp(-|y_i - y_j|)`` of labels (n, targets): ``(n, n)``, the mean over targets."""
        return (-(own[:, None] - own).abs()).exp().mean(-1)

    def _judged(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which samples have a label for every target, (batch,) bool, and the labels (batch, targets)."""
        names = [t.name for t in self.targets]
        known = torch.stack([batch.labelled(n) for n in names]).all(0)
        return known, torch.stack([batch.targets[n] for n in names], dim=1)

    def centres(self) -> list[tuple[Tensor, Tensor]]:
        """Return per stream the means (2, targets, width) of positive and negative samples seen so far, by the stream's
        own labels, and whether there are both, (targets,) bool."""
        found = []
        for i, features in enumerate(self.features.split(self.widths, dim=1)):
            seen = self.visits[:, i, None] > 0
            sides = torch.stack([(self.labels[:, i] > 0) & seen, (self.labels[:, i] < 0) & seen])
            counts = sides.sum(1)  # (2, targets)
            # Half precision would blur the centres, and with them every label.
            with torch.autocast(features.device.type, enabled=False):
                sums = sides.transpose(1, 2).to(features.dtype) @ features
            found.append((sums / counts.clamp(min=1).unsqueeze(2), (counts > 0).all(0)))
        return found

    def update(self, rows: Tensor, features: list[Tensor], present: Tensor) -> None:
        """Relabel the samples ``rows`` (known,) by the centres that the batch before left, then store their features.

        Args:
            rows: as ``find`` returns them.
            features: per stream ``(known, width)``.
            present: ``(known, streams)`` bool; labels and features of an absent stream stay.
        """
        centres, usable = zip(*self.centres(), strict=True)
        place = torch.stack([relative_position(x, c) for x, c in zip(features, centres, strict=True)], dim=1)
        old, visits = self.labels[rows], self.visits[rows] + present
        new = generate_label(old[:, :1], place[:, 1:], place[:, :1], self.limit)
        new = torch.cat([old[:, :1], momentum(old[:, 1:], new, visits[:, 1:, None])], dim=1)
        # A class without a sample has no centre, and a sample seen for the first time no position to compare with.
        change = (present & (visits > 1))[:, :, None] & torch.stack(usable) & usable[0]
        self.store(rows, features, torch.where(change, new, old), present)


def _chosen(ids: Sequence[str], rows: Tensor) -> list[str]:
    return [i for i, chosen in zip(ids, rows.tolist(), strict=True) if chosen]
