"""Duplex attention: keys of a modality seen in the space of the others, and a mask that takes surplus attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.open_attention import scaled_products

SMALL = 1e-6


def coordinates(keys: Tensor) -> Tensor:
    """Return the Gram matrix ``K^T K`` with rows of length 1: the basis of the space that keys span.

    Args:
        keys: ``(..., tokens, width)``, zero where there is no token.

    Returns:
        ``(..., width, width)``, zero where there are no tokens.
    """
    return F.normalize(keys.transpose(-1, -2) @ keys, dim=-1, eps=SMALL)


class DuplexAligner(nn.Module):
    """Brings the keys of every modality into the space of the others (Zhang et al., ICML 2025).

    With K_t the keys of a modality, K~_t those of length 1, and ``||G_o||`` the ``coordinates`` of another one,
    ``K'_t = F_t (K_t + ratio_t * sum_o K~_t ||G_o||)``. ratio begins at 0 and F as the identity, so that nothing
    changes at first. A modality all of whose others are absent keeps its keys.

    Args:
        count: modalities, two or more.
        width: of one head, which all heads share.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.ratio = nn.Parameter(torch.zeros(count, width))
        self.fuse = nn.Parameter(torch.eye(width).repeat(count, 1, 1))

    def forward(self, keys: Tensor, owner: Tensor, known: Tensor) -> Tensor:
        """Return the aligned keys.

        Args:
            keys: ``(batch, heads, tokens, width)``.
            owner: ``(tokens,)`` number of the modality; tokens of none (``count`` and above) keep their keys.
            known: ``(batch, tokens)`` bool, which tokens make up the spaces. Every key sees all of them, also later
                ones: what must not be known yet has to be left out here.
        """
        count = len(self.ratio)
        spaces, there = [], []
        for number in range(count):
            rows = known & (owner == number)
            spaces.append(coordinates(keys * rows[:, None, :, None]))
            there.append(rows.any(1))
        whole, present = torch.stack(spaces).sum(0), torch.stack(there).long()
        unit = F.normalize(keys, dim=-1, eps=SMALL)
        found = keys
        for number in range(count):
            cross = unit @ (whole - spaces[number])
            aligned = (keys + self.ratio[number] * cross) @ self.fuse[number].T
            others = present.sum(0) - present[number] > 0
            found = torch.where(((owner == number) & others[:, None])[:, None, :, None], aligned, found)
        return found


def modular_weights(query: Tensor, key: Tensor, known: Tensor, decay: Tensor) -> Tensor:
    """Return causal attention in which what is yet to come takes surplus attention, and gives nothing.

    A future token j of query i gets the pseudo score ``-decay_ij (j - i)`` in the place of -inf; after the softmax it
    is multiplied by 0, so that the weights of a row sum to 1 or less.

    Args:
        query, key: ``(batch, heads, tokens, width)``.
        known: ``(batch, tokens)`` bool; others are padding, which is neither past nor future and takes no place in the
            order.
        decay: ``(tokens, tokens)``, above 0; infinite for the usual causal mask.
    """
    place = known.long().cumsum(1)
    ahead = (place.unsqueeze(1) - place.unsqueeze(2)).to(query.dtype)  # (batch, query, key)
    later = torch.ones(place.shape[1], place.shape[1], dtype=torch.bool, device=place.device).triu(1)
    pseudo = -decay * ahead.clamp(min=1)
    scores = torch.where(later, pseudo.unsqueeze(1), scaled_products(query, key))
    # A query that is padding sees itself: a softmax over nothing would be NaN.
    hidden = ~(known.unsqueeze(1) | torch.eye(later.shape[0], dtype=torch.bool, device=place.device))
    return scores.masked_fill(hidden.unsqueeze(1), -torch.inf).softmax(-1) * ~later
