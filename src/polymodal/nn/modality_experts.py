"""Low-rank experts of modalities around a linear map, and what keeps one modality from taking all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.nn.experts import load_balance


class Gates(NamedTuple):
    """Who counts how much in each sample.

    Attributes:
        modalities: ``(batch, modalities)``, sum 1 over those that are there.
        experts: ``(batch, modalities, experts)`` probabilities.
        present: ``(batch, modalities)`` bool.
    """

    modalities: Tensor
    experts: Tensor
    present: Tensor

    @property
    def chosen(self) -> Tensor:
        """Weight of every expert ``(batch, modalities, experts)``: the likeliest one of each modality keeps its
        probability, through which the gate learns, times the weight of the modality."""
        best = torch.zeros_like(self.experts).scatter(2, self.experts.argmax(2, keepdim=True), 1.0)
        return self.experts * best * self.modalities.unsqueeze(2)


class ModalityGate(nn.Module):
    """Weighs modalities against each other and chooses an expert for each, from one vector per modality.

    Args:
        count: modalities.
        width: of their vectors.
        experts: of each modality.
    """

    def __init__(self, count: int, width: int, experts: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(count * width, count)
        self.choose = nn.ModuleList(nn.Linear(width, experts) for _ in range(count))

    def forward(self, vectors: Tensor, present: Tensor) -> Gates:
        """Return the gates.

        Args:
            vectors: ``(batch, modalities, width)``, zero where absent.
            present: ``(batch, modalities)`` bool.
        """
        logits = self.weigh(vectors.flatten(1)).masked_fill(~present, torch.finfo(vectors.dtype).min)
        experts = torch.stack([one(vectors[:, i]).softmax(1) for i, one in enumerate(self.choose)], 1)
        return Gates(logits.softmax(1) * present, experts, present)


class ModalityExperts(nn.Module):
    """What experts add to a frozen linear map: ``s * sum_m w_m B_m^e A x`` (low-rank adapters, Hu et al., ICLR 2022).

    A is shared, B begins at zero, so that at first nothing is added.

    Args:
        width_in, width_out: of the map.
        count: modalities.
        experts: of each modality.
        rank: of the adapters.
        scale: s.
    """

    def __init__(self, width_in: int, width_out: int, *, count: int, experts: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, width_in))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.up = nn.Parameter(torch.zeros(count, experts, width_out, rank))

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Return what is added to the result of the map for ``x`` (batch, tokens, width in)."""
        up = torch.einsum("bme,meor->bor", gates.chosen, self.up)
        return self.scale * (x @ self.down.T) @ up.transpose(1, 2)


def lopsided(modalities: Tensor) -> Tensor:
    """Return KL of the mean weights of ``modalities`` (batch, modalities) from equal ones: 0 where they are equal,
    log of their number where one has all."""
    mean = modalities.mean(0)
    return math.log(len(mean)) + torch.special.xlogy(mean, mean).sum()


def gate_losses(gates: Gates) -> tuple[Tensor, Tensor]:
    """Return ``lopsided`` over samples that have all modalities, and how far the experts of each are from being used
    alike, ``E sum_e f_e P_e - 1``, averaged over modalities; 0 where no sample can tell."""
    whole = gates.present.all(1)
    nothing = gates.modalities.sum() * 0 + gates.experts.sum() * 0
    apart = lopsided(gates.modalities[whole]) if whole.any() else nothing
    used = [
        load_balance(gates.experts[rows, number], 1) - 1
        for number, rows in enumerate(gates.present.unbind(1))
        if rows.any()
    ]
    return nothing + apart, nothing + (torch.stack(used).mean() if used else nothing)


def reallocated(weights: Tensor, owner: Tensor, members: Sequence[int], beta: float, tau: float) -> Tensor:
    """Move attention from the modality that gets most to the one that gets least.

    Where their shares M are more than ``tau`` times apart, ``beta (M_most - M_least) / 2`` is moved; keys keep their
    order within a modality, those of others stay as they are, and so does the sum of a row.

    Args:
        weights: ``(batch, heads, queries, keys)`` after the softmax.
        owner: ``(keys,)`` number of the modality of each.
        members: numbers of the modalities that take part; one without attention does not.
        beta: from 0, nothing is moved, to 1, both get the same.
        tau: 1 or more.
    """
    shares = torch.stack([(weights * (owner == m)).sum(-1) for m in members], -1)  # (batch, heads, queries, members)
    most, first = shares.max(-1)
    least, last = shares.masked_fill(shares <= 0, torch.inf).min(-1)
    moved = torch.where(most > tau * least, beta * (most - least) / 2, torch.zeros_like(most))
    down, up = (most - moved) / most.clamp(min=1e-12), (least + moved) / least
    factor = torch.ones_like(weights)
    for place, member in enumerate(members):
        own = torch.where(first == place, down, torch.where(last == place, up, torch.ones_like(up)))
        factor = torch.where((owner == member) & (moved > 0).unsqueeze(-1), own.unsqueeze(-1), factor)
    return weights * factor
