"""ALMT: language decides what of the other modalities enters a representation that it then reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Stream
from polymodal.methods.base import Method, divides, fraction, per_modality, positive
from polymodal.nn.fast import attention
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.shortened import shortened


class ALMT(Method):
    """Adaptive Language-guided Multimodal Transformer (Zhang et al., EMNLP 2023, arXiv 2310.05804).

    1. Every modality is compressed to ``tokens`` vectors: learned ones that attend to it. Language is then read by a
       transformer; what goes into each of its layers and what comes out of the last are the language scales.
    2. The hyper-modality starts as learned vectors. At each scale language queries the tokens of every other modality,
       and what it finds is added: nothing else of them goes any further.
    3. Language attends to the hyper-modality, and a class token is read. The error of a regression is squared.

    The class token sees the hyper-modality only, so language speaks through its questions alone, as published.

    Departures: padded steps are never attended to (the code attends to them); only sequences longer than ``steps`` are
    brought to so many, where the code needs inputs of one length; the hyper-modality is added to as in the equations
    (the code adds to a normalised copy, which has parameters of its own). Any number of other modalities and the three
    tasks; a single modality attends to itself. Of an absent modality the learned tokens remain, which know nothing of
    the sample. Without one called ``text``, the first modality of kind text, else the first one is language. Defaults
    are smaller than the authors' sizes, which the preset ``paper`` has.

    Args:
        schema: what the batches hold.
        width: features of every token.
        tokens: per modality.
        heads: attention heads; must divide ``width``.
        head_width: features per head, except where language queries: ``width`` / ``heads`` there.
        scales: of language; its transformer has one layer fewer.
        layers: in which language attends to the hyper-modality.
        steps: most steps of a sequence that have a position, for all modalities or by name.
        dropout: on attention weights, and after each map of the feed-forward networks.

    Output: ``fused`` (batch, width); with other modalities ``hyper`` (batch, tokens, width).
    """

    family = "attention"
    paper = (
        "Zhang et al., Learning Language-guided Adaptive Hyper-modality Representation for Multimodal Sentiment "
        "Analysis, EMNLP 2023, arXiv:2310.05804"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        tokens: int = 8,
        heads: int = 8,
        head_width: int = 16,
        scales: int = 3,
        layers: int = 2,
        steps: int | dict[str, int] = 100,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(schema)
        positive(width=width, tokens=tokens, heads=heads, head_width=head_width, scales=scales, layers=layers)
        fraction(dropout=dropout)
        longest = per_modality("steps", steps, schema.names, positive)
        divides(width, heads=heads)

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(_Block(width, heads, head_width, dropout) for _ in range(count))

        self.inputs = Inputs(schema)
        self.compressors = nn.ModuleDict()
        for n, m in self.inputs.modalities.items():
            most = 1 if m.kind == "vector" else longest[n]
            self.compressors[n] = Compressor(m.width, _Block(width, heads, head_width, dropout), width, tokens, most)
        self.anchor = schema.anchor
        others = [n for n in schema.names if n != self.anchor]
        self.positions = nn.Parameter(torch.randn(tokens, width))
        self.language = blocks(scales - 1)
        self.start = nn.Parameter(torch.ones(tokens, width)) if others else None
        self.guides = nn.ModuleList(Guide(width, heads, others, dropout) for _ in range(scales if others else 0))
        self.token = nn.Parameter(torch.zeros(1, width))
        self.places = nn.Parameter(torch.randn(2, 1 + tokens, width))
        self.crossings = blocks(layers)
        self.heads = Heads(schema, width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the representations named above."""
        found = {n: self.compressors[n](s) for n, s in self.inputs(batch).items()}
        scales = self.scales(found.pop(self.anchor))
        if self.start is None:
            fused = self.read(scales[-1], scales[-1])
            return Output(self.heads(fused), {"fused": fused})
        hyper = self.start.expand(scales[-1].shape[0], -1, -1)
        for guide, language in zip(self.guides, scales, strict=True):
            hyper = hyper + guide(language, found)
        fused = self.read(scales[-1], hyper)
        return Output(self.heads(fused), {"fused": fused, "hyper": hyper})

    def scales(self, language: Tensor) -> list[Tensor]:
        """Return language tokens ``(batch, tokens, width)`` before the first and after each layer of its encoder."""
        found = [language + self.positions]
        for block in self.language:
            found.append(block(found[-1], found[-1]))
        return found

    def read(self, language: Tensor, hyper: Tensor) -> Tensor:
        """Return the class token ``(batch, width)`` of language after it attended to the hyper-modality."""
        token = self.token.expand(language.shape[0], -1, -1)
        x, source = (torch.cat([token, x], dim=1) + p for x, p in zip((language, hyper), self.places, strict=True))
        for block in self.crossings:
            x = block(x, source)
        return x[:, 0]

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms."""
        return task_losses(self.schema, batch, output, squared=True)


class Guide(nn.Module):
    """What language finds in the other modalities: ``W_o sum_m softmax(Q K_m^T / sqrt(d)) V_m`` (ALMT).

    Language tokens and those of every other modality ``(batch, tokens, width)`` -> ``(batch, tokens, width)``.
    """

    def __init__(self, width: int, heads: int, others: Iterable[str], dropout: float) -> None:
        super().__init__()
        self.split, self.dropout = heads, dropout
        self.norm, self.query = nn.LayerNorm(width), nn.Linear(width, width, bias=False)
        self.norms, self.keys, self.values = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for n in others:
            self.norms[n] = nn.LayerNorm(width)
            self.keys[n], self.values[n] = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.out = nn.Linear(width, width)

    def forward(self, language: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """Return the increment of the hyper-modality."""
        query, found = self.query(self.norm(language)), torch.zeros_like(language)
        dropout = self.dropout if self.training else 0.0
        for name, tokens in others.items():
            x = self.norms[name](tokens)
            found = found + attend(query, self.keys[name](x), self.values[name](x), self.split, dropout)
        return self.out(found)


class Compressor(nn.Module):
    """Learned tokens that attend to themselves and a sequence: a stream -> ``(batch, tokens, width)``."""

    def __init__(self, width_in: int, block: _Block, width: int, tokens: int, steps: int) -> None:
        super().__init__()
        self.steps, self.block = steps, block
        self.linear = nn.Linear(width_in, width)
        self.tokens = nn.Parameter(torch.zeros(tokens, width))
        self.positions = nn.Parameter(torch.randn(tokens + steps, width))

    def forward(self, stream: Stream) -> Tensor:
        """Return the tokens."""
        stream = shortened(as_sequence(stream), self.steps)
        tokens, frames = self.tokens.expand(stream.present.shape[0], -1, -1), self.linear(stream.tensor)
        x = torch.cat([tokens, frames], dim=1)
        x = x + self.positions[: x.shape[1]]
        count = tokens.shape[1]
        # Only tokens ask: what frames would find is read by nobody.
        return self.block(x[:, :count], x, F.pad(stream.mask, (count, 0), value=True))


class _Block(nn.Module):
    """Pre-norm attention, with norms of their own for query, key and value, and a feed-forward network."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.split, self.dropout = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.project = nn.ModuleList(nn.Linear(width, heads * head_width, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return ``x`` (batch, time, width) updated from ``source`` (batch, steps, width), where ``mask`` is True."""
        inputs = zip((x, source, source), self.norms, self.project, strict=True)
        q, k, v = (linear(norm(y)) for y, norm, linear in inputs)
        x = x + self.out(attend(q, k, v, self.split, self.dropout if self.training else 0.0, mask))
        return x + self.feed_forward(x)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, dropout: float, mask: Tensor | None = None) -> Tensor:
    """Return ``(batch, time, width)`` of scaled dot-product attention over steps where ``mask`` (batch, steps) is True;
    every row needs one."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    visible = key.new_ones(key.shape[:2], dtype=torch.bool) if mask is None else mask
    return attention(q, k, v, visible.unsqueeze(1), dropout).transpose(1, 2).flatten(2)
