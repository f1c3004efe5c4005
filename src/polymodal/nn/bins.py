"""A number as a distribution over ordered bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Target
from polymodal.core.batch import known_labels
from polymodal.nn.masking import mean_where


class OrderedBins(nn.Module):
    """Linear head with one output for each of ``count`` bins, whose centres are spread evenly over the scale.

    ``(batch, width)`` -> probabilities ``(batch, count)``. Where a target has no range, the centres reach two standard
    deviations to both sides of the mean label, once ``span`` was told the labels.

    Attributes:
        target: whose number it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, target: Target, width: int, count: int) -> None:
        super().__init__()
        self.target = target
        self.linear = nn.Linear(width, count)
        low, high = target.range or (-1.0, 1.0)
        self.register_buffer("mean", torch.tensor((low + high) / 2))
        self.register_buffer("std", torch.tensor((high - low) / 4))

    @property
    def centres(self) -> Tensor:
        """``(count,)``, rising."""
        return self.mean + 2 * self.std * torch.linspace(-1, 1, self.linear.out_features, device=self.mean.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return the probabilities of the bins, float32."""
        return self.linear(x).float().softmax(dim=-1)

    def span(self, labels: Tensor) -> None:
        """Spread the centres of a target without a range over the known ``labels`` (samples,)."""
        known = labels[known_labels(labels)].float()
        if self.target.range is None and len(known) and float(known.std(correction=0)) > 0:
            self.mean.copy_(known.mean())
            self.std.copy_(known.std(correction=0))

    def expected(self, probability: Tensor) -> Tensor:
        """Return the mean of the centres under ``probability`` (batch, count): ``(batch,)``."""
        return probability @ self.centres

    def soft(self, labels: Tensor) -> Tensor:
        """Return ``(batch, count)``: each label shared between the two centres around it so that ``expected`` is the
        label; one beyond the first or last centre counts as that centre; one that is not
        known means nothing, but is finite."""
        centres = self.centres
        safe = labels.float().nan_to_num(nan=0.0).clamp(centres[0], centres[-1])
        upper = torch.searchsorted(centres, safe.contiguous()).clamp(1, len(centres) - 1)
        low, high = centres[upper - 1], centres[upper]
        share = ((safe - low) / (high - low)).unsqueeze(1)
        empty = share.new_zeros(len(safe), len(centres))
        return empty.scatter(1, (upper - 1).unsqueeze(1), 1 - share).scatter(1, upper.unsqueeze(1), share)

    def cross_entropy(self, probability: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy of ``probability`` with the soft labels, over known labels; 0 without any."""
        tiny = torch.finfo(torch.float32).tiny  # a bin that softmax has rounded to 0
        losses = -(self.soft(labels) * probability.clamp_min(tiny).log()).sum(1)
        return mean_where(losses, known_labels(labels))


def bins_of(method: nn.Module, target: str) -> OrderedBins | None:
    """Return the bins in which ``method`` answers ``target``; None where it does not answer in bins."""
    return next((m for m in method.modules() if isinstance(m, OrderedBins) and m.target.name == target), None)
