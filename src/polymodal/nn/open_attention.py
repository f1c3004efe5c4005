"""Transformer layers whose attention is open to change, and how much of it each modality gets."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Weigh = Callable[[Tensor, Tensor], Tensor]
"""Queries and keys ``(batch, heads, tokens, head width)`` -> weights ``(batch, heads, tokens, tokens)``."""

Added = Callable[[str, Tensor], Tensor]
"""Name of a map (``query`` or ``value``) and what enters it ``(batch, tokens, width)`` -> what is added to it."""


class OpenLayer(nn.Module):
    """A pre-norm transformer layer that is told how its queries weigh its keys.

    Args:
        width: features per token.
        heads: attention heads; must divide ``width``.
        dropout: on both residual branches.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, weigh: Weigh, added: Added | None = None) -> tuple[Tensor, Tensor]:
        """Return the tokens ``(batch, tokens, width)`` after the layer, and the weights that were used."""
        seen = self.attention_norm(x)
        query, key, value = self.query(seen), self.key(seen), self.value(seen)
        if added is not None:
            query, value = query + added("query", seen), value + added("value", seen)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        weights = weigh(q, k)
        x = x + self.drop(self.out((weights @ v).transpose(1, 2).flatten(2)))
        return x + self.drop(self.feed_forward(self.forward_norm(x))), weights


def plain_weights(query: Tensor, key: Tensor, visible: Tensor) -> Tensor:
    """Return the softmax of scaled products over the keys that are ``visible`` (batch, tokens, tokens) bool.

    Every query must see one.
    """
    return scaled_products(query, key).masked_fill(~visible.unsqueeze(1), -torch.inf).softmax(-1)


def scaled_products(query: Tensor, key: Tensor) -> Tensor:
    """Return scaled products ``(batch, heads, tokens, tokens)``, before any mask."""
    return query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])


def attention_share(weights: Tensor, owner: Tensor, count: int) -> Tensor:
    """Return how much of its attention each query gives to each modality.

    Args:
        weights: ``(batch, heads, queries, keys)``.
        owner: ``(keys,)``, number of the modality of each; what is not below ``count`` belongs to none.
        count: modalities.

    Returns:
        ``(batch, heads, queries, count)``.
    """
    member = owner.unsqueeze(1) == torch.arange(count, device=owner.device)
    return weights @ member.to(weights.dtype)
