"""Attention of one sequence over another, with masks made from true lengths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.fast import Dropout, attention
from polymodal.nn.sequence import sinusoid


def attention_mask(target: Stream, source: Stream, *, causal: bool) -> Tensor:
    """Return which source steps each target step may see: ``(batch, target time, source time)`` bool.

    Every true source step; with ``causal``, query i sees key j only where j <= i + |T_source - T_target| (MulT's offset
    mask; the usual causal mask at equal lengths). T are true lengths, so that padding does not shift the offset.
    """
    assert target.lengths is not None
    assert source.lengths is not None
    visible = source.mask.unsqueeze(1).expand(-1, target.tensor.shape[1], -1)
    if not causal:
        return visible
    device = visible.device
    query = torch.arange(visible.shape[1], device=device).view(1, -1, 1)
    key = torch.arange(visible.shape[2], device=device).view(1, 1, -1)
    offset = (source.lengths - target.lengths).abs().view(-1, 1, 1)
    return visible & (key <= query + offset)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., NeurIPS 2017, section 3.2) with a packed projection.

    Query ``(batch, time, width)``, key and value ``(batch, steps, width)``, mask ``(batch, time, steps)`` ->
    ``(batch, time, width)``; exactly zero for queries that may see no key.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = xavier(nn.Linear(width, 3 * width))
        self.out = xavier(nn.Linear(width, width))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Return the attended values."""
        parts = zip((query, key, value), self.project.weight.chunk(3), self.project.bias.chunk(3), strict=True)
        q, k, v = (F.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x, w, b in parts)
        seen = mask.any(-1, keepdim=True)
        # Fused kernels disagree on a softmax over nothing (zero or NaN): such rows look everywhere, then are zeroed.
        visible = mask | ~seen
        x = attention(q, k, v, visible, self.dropout if self.training else 0.0)
        return self.out(x.transpose(1, 2).flatten(2)) * seen


def xavier(linear: nn.Linear) -> nn.Linear:
    """Return ``linear`` with Xavier-uniform weights and zero bias, as in fairseq's transformers."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class CrossModalLayer(nn.Module):
    """Pre-norm attention and feed-forward; one norm serves query, key and value (Tsai et al., ACL 2019, eq. 5)."""

    def __init__(self, width: int, heads: int, *, attention_dropout: float, layer_dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention_dropout)
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = Dropout(layer_dropout)
        self.feed_forward = nn.Sequential(
            xavier(nn.Linear(width, 4 * width)),
            nn.ReLU(),
            Dropout(layer_dropout),
            xavier(nn.Linear(4 * width, width)),
        )

    def forward(self, x: Tensor, mask: Tensor, source: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return ``x`` updated from ``source`` (key, value), or from itself; shapes as in ``Attention``."""
        query = self.attention_norm(x)
        key, value = (query, query) if source is None else (self.attention_norm(s) for s in source)
        x = x + self.drop(self.attention(query, key, value, mask))
        return x + self.drop(self.feed_forward(self.forward_norm(x)))


class CrossModalStack(nn.Module):
    """Target steps attend, at every layer, to the same low-level source features (Tsai et al., ACL 2019, section 3.2).

    Without a source it is a self-attention stack. Inputs are scaled by sqrt(width). Where the source is absent the
    attention adds nothing and the target passes on alone; where the target is absent the result is zero.

    Args:
        width: features per step, of target and source.
        heads: attention heads; must divide ``width``.
        layers: number of layers.
        causal: whether the offset causal mask of ``attention_mask`` applies.
        positions: whether sinusoidal positions, from 1, are added to target and source.
        attention_dropout: on attention weights.
        layer_dropout: after the feed-forward ReLU and on both residual branches.
        embed_dropout: on the scaled input; key and value are dropped independently.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        causal: bool = True,
        positions: bool = True,
        attention_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        embed_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.causal, self.positions = causal, positions
        self.drop = Dropout(embed_dropout)
        self.layers = nn.ModuleList(
            CrossModalLayer(width, heads, attention_dropout=attention_dropout, layer_dropout=layer_dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, target: Stream, source: Stream | None = None) -> Tensor:
        """Return ``(batch, target time, width)``, zero at padding."""
        mask = attention_mask(target, target if source is None else source, causal=self.causal)
        x = self.drop(self._embed(target))
        pair = None
        if source is not None:
            embedded = self._embed(source)
            pair = self.drop(embedded), self.drop(embedded)
        for layer in self.layers:
            x = layer(x, mask, pair)
        return self.norm(x) * target.mask.unsqueeze(-1)

    def _embed(self, stream: Stream) -> Tensor:
        x = stream.tensor
        steps, width = x.shape[1:]
        x = width**0.5 * x
        return x + sinusoid(steps + 1, width, x.device)[1:].to(x.dtype) if self.positions else x
