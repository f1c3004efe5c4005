"""Dynamic routing: who contributes how much to whom, by agreement."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from polymodal.nn.sequence import masked_softmax


def dynamic_routing(
    votes: Tensor, mask: Tensor, rounds: int, *, over: Literal["inputs", "outputs"]
) -> tuple[Tensor, Tensor]:
    """Route votes to capsules (after Sabour et al., NeurIPS 2017, procedure 1; a tanh in the place of their squash).

    Every pass weights the votes by a softmax of logits that begin at 0; between passes a vote's logit grows by its
    product with the capsule that it went into. The weights are constants: gradients flow through the votes alone.

    Args:
        votes: ``(batch, outputs, inputs, width)``.
        mask: ``(batch, inputs)`` bool; where it is False an input has no weight.
        rounds: passes after the first; 0 leaves even weights.
        over: the weights of every input sum to 1 over the ``outputs``, or those of every output over the ``inputs``.

    Returns:
        capsules ``(batch, outputs, width)`` and weights ``(batch, outputs, inputs)``.
    """
    held, there = votes.detach(), mask.unsqueeze(1)
    logits = held.new_zeros(held.shape[:3])
    with torch.no_grad():
        for number in range(rounds + 1):
            weights = logits.softmax(1) * there if over == "outputs" else masked_softmax(logits, there)
            if number < rounds:
                logits = logits + (held @ gathered(held, weights).unsqueeze(3)).squeeze(3)
    return gathered(votes, weights), weights


def gathered(votes: Tensor, weights: Tensor) -> Tensor:
    """Return the capsules ``(batch, outputs, width)`` of one pass: tanh of the weighted sums of votes."""
    return torch.tanh((weights.unsqueeze(2) @ votes).squeeze(2))
