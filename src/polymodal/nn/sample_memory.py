"""What a training remembers of each of its samples; no part of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polymodal.core import derive_seed


class SampleMemory(nn.Module):
    """Features and labels of every stream of every training sample, and how often it was seen.

    Stream 0 stands for the sample as a whole: its labels are given and never change. Then come the modalities.

    Args:
        widths: features of each stream.
        values: numbers that a label has.

    Buffers:
        keys: ``(samples,)`` long, sorted; hashes of the samples' ids.
        features: ``(samples, sum of widths)``, of the last visit.
        labels: ``(samples, streams, values)``.
        visits: ``(samples, streams)`` long, visits at which the stream was present.
    """

    keys: Tensor
    features: Tensor
    labels: Tensor
    visits: Tensor

    def __init__(self, widths: Sequence[int], values: int) -> None:
        super().__init__()
        self.widths, streams = list(widths), len(widths)
        buffers = {
            "keys": torch.zeros(0, dtype=torch.long),
            "features": torch.zeros(0, sum(self.widths)),
            "labels": torch.zeros(0, streams, values),
            "visits": torch.zeros(0, streams, dtype=torch.long),
        }
        self.forgotten(buffers)

    def forgotten(self, buffers: Mapping[str, Tensor]) -> None:
        """Register buffers that are not among the weights: training samples and their labels are not for those the
        weights are given to, who only predict."""
        for name, start in buffers.items():
            self.register_buffer(name, start, persistent=False)

    def remember(self, ids: Sequence[str], labels: Tensor) -> None:
        """Make room for the samples ``ids`` with ``labels`` (samples, values), the same for every stream."""
        device, streams = self.keys.device, len(self.widths)
        self.keys, order = _hashes(ids, device).sort()
        self.labels = labels.to(device)[order][:, None].repeat(1, streams, 1)
        self.features = torch.zeros(len(ids), sum(self.widths), device=device)
        self.visits = torch.zeros(len(ids), streams, dtype=torch.long, device=device)

    def find(self, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return which of ``ids`` are known, (batch,) bool, and the rows of those, (known,) long."""
        wanted = _hashes(ids, self.keys.device)
        known = torch.isin(wanted, self.keys)
        return known, torch.searchsorted(self.keys, wanted[known])

    def store(self, rows: Tensor, features: list[Tensor], labels: Tensor, present: Tensor) -> None:
        """Count a visit of the samples ``rows`` (known,) and keep what was found.

        Args:
            rows: as ``find`` returns them.
            features: per stream ``(known, width)``.
            labels: ``(known, streams, values)``.
            present: ``(known, streams)`` bool; the features of an absent stream stay.
        """
        columns = present.repeat_interleave(torch.tensor(self.widths, device=rows.device), dim=1)
        self.features[rows] = torch.where(columns, torch.cat(features, dim=1), self.features[rows])
        self.labels[rows] = labels
        self.visits[rows] += present


def momentum(old: Tensor, new: Tensor, visit: Tensor) -> Tensor:
    """Return ``(n - 1) / (n + 1) old + 2 / (n + 1) new`` at visit ``n`` of a sample; labels settle as n grows."""
    return ((visit - 1) * old + 2 * new) / (visit + 1)


def _hashes(ids: Sequence[str], device: torch.device) -> Tensor:
    return torch.tensor([derive_seed(i) for i in ids], dtype=torch.long, device=device)
