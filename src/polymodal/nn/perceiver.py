"""A few tokens that read a sequence of any length (Jaegle et al., ICML 2021; Alayrac et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.attention import Attention
from polymodal.nn.sequence import sinusoid


class Perceiver(nn.Module):
    """Learned queries attend to a sequence: ``(batch, time, width_in)`` -> ``(batch, tokens, width)``.

    Steps get a linear map and, with ``positions``, sinusoids. In each layer the tokens q look at the steps x and at
    each other: ``q + Attention(LN(q), [LN(x), LN(q)])``, then ``q + FFN(LN(q))``. Only true steps are seen, so that the
    result depends on neither padding nor, without positions, the order of steps; it is zero where the stream is absent.

    Args:
        width_in: features per step.
        width: features per token.
        tokens: number of tokens.
        heads: attention heads; must divide ``width``.
        layers: number of layers.
        dropout: on attention weights and in the feed-forward.
        positions: whether the order of steps counts.
    """

    def __init__(
        self, width_in: int, width: int, *, tokens: int, heads: int, layers: int, dropout: float, positions: bool
    ) -> None:
        super().__init__()
        self.positions = positions
        self.input = nn.Linear(width_in, width)
        self.tokens = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))

    def forward(self, stream: Stream) -> Tensor:
        """Return the tokens of each sample."""
        x = self.input(stream.tensor)
        if self.positions:
            x = x + sinusoid(x.shape[1], x.shape[2], x.device).to(x.dtype)
        q = self.tokens.expand(x.shape[0], -1, -1).to(x.dtype)
        for layer in self.layers:
            q = layer(q, x, stream.mask)
        return q * stream.present[:, None, None]


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.steps_norm, self.tokens_norm, self.forward_norm = (nn.LayerNorm(width) for _ in range(3))
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(self, q: Tensor, x: Tensor, real: Tensor) -> Tensor:
        tokens = self.tokens_norm(q)
        seen = torch.cat([self.steps_norm(x), tokens], dim=1)
        mask = torch.cat([real, real.new_ones(q.shape[:2])], dim=1).unsqueeze(1).expand(-1, q.shape[1], -1)
        q = q + self.attention(tokens, seen, seen, mask)
        return q + self.feed_forward(self.forward_norm(q))
