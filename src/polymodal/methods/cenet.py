"""CENet: early in a language model, every token takes up what it finds in the whole of the other modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, divides, fraction, positive
from polymodal.methods.mag_bert import embedding_layer
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.sequence import masked_softmax
from polymodal.nn.text import TextEncoder
from polymodal.nn.transformer import Shift, SmallTransformer


class CENet(Method):
    """Cross-modal Enhancement Network (Wang et al., IEEE Transactions on Multimedia 2022).

    Inside a transformer, in front of layer ``place``, every token attends to all steps of each other modality, however
    long and unaligned, and what it finds is added to it. The rest of the transformer reads tokens so enhanced; the
    first one, through a linear map and a tanh, is what predicts. The embeddings of the transformer do not train.

    Departures. The paper brings the other modalities nearer to text by clusters of their steps with an embedding each,
    MMSA by a perceptron: so here. Scores are divided by sqrt(width) (MMSA multiplies them by 8, next to a choice of one
    step), and padded steps are not attended to. Any number of other modalities; one that is absent adds nothing, and
    without any the transformer is the plain one. Text that is no transformer's (hashed words, features) is mapped to
    ``width`` and read by a small transformer from scratch, which trains as a whole and is averaged. Without a modality
    called ``text``, the first one of kind text, else the first one takes its place. A sample without text has no token
    to enhance, so nothing but biases speaks. The pooler starts anew.

    Args:
        schema: what the batches hold.
        place: layer in front of which tokens are enhanced, from 0.
        dropout: before and after the pooler, and in the small transformer.
        width: features per token of the small transformer; a pre-trained one has its own.
        heads: its attention heads; must divide ``width``.
        layers: its layers.
    """

    family = "attention"
    paper = (
        "Wang et al., Cross-modal Enhancement Network for Multimodal Sentiment Analysis, IEEE Transactions on "
        "Multimedia 2022, doi:10.1109/TMM.2022.3183830"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        place: int = 1,
        dropout: float = 0.1,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers)
        fraction(dropout=dropout)
        divides(width, heads=heads)
        self.inputs = Inputs(schema)
        self.anchor = schema.anchor
        own, encoder = self.inputs.modalities[self.anchor], self.transformer
        self.small = SmallTransformer(own.width, width, heads, layers, dropout) if encoder is None else None
        stack = layers_of(encoder) if self.small is None else self.small.layers
        if not 0 <= place < len(stack):
            raise OptionError(f"place must be a layer of the transformer, 0 to {len(stack) - 1}, got {place}")
        self.place = place
        if encoder is not None:
            embeddings = embedding_layer(encoder)
            assert embeddings is not None
            embeddings.requires_grad_(False)
        size = width if encoder is None else own.width
        others = {n: m.width for n, m in self.inputs.modalities.items() if n != self.anchor}
        self.enhancement = Enhancement(size, others) if others else None
        self.pooler = nn.Sequential(nn.Dropout(dropout), nn.Linear(size, size), nn.Tanh(), nn.Dropout(dropout))
        self.heads = Heads(schema, size)

    @property
    def transformer(self) -> TextEncoder | None:
        """The pre-trained encoder of the text, if it has one."""
        return self.inputs.transformer(self.anchor)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and, as ``fused``, the pooled vector."""
        streams = self.inputs(batch, raw=() if self.transformer is None else (self.anchor,))
        own = streams.pop(self.anchor)
        fused = self.pooler(self.read(own, {n: as_sequence(s) for n, s in streams.items()}))
        return Output(self.heads(fused), {"fused": fused})

    def read(self, text: Stream, others: Mapping[str, Stream]) -> Tensor:
        """Return what the transformer makes of the enhanced tokens: ``(batch, width)``, zero where text is absent."""
        encoder, shift = self.transformer, None
        if self.enhancement is not None:
            shift = partial(self.enhancement, others=others)
        if encoder is None:
            assert self.small is not None
            return self.small(as_sequence(text), shift, self.place)
        with enhanced(layers_of(encoder)[self.place], shift):
            return encoder(text).tensor[:, 0]


class Enhancement(nn.Module):
    """``T + W [att_1; att_2; ...]``, ``att_m = softmax(T W_q (X_m W_k)^T / sqrt(width)) X_m W_v``, one head each.

    Tokens ``(batch, tokens, width)`` and the steps of every other modality, which a perceptron brings to ``width``
    first -> tokens. Of an absent modality nothing is found; without any, tokens stay exactly as they are.
    """

    def __init__(self, width: int, others: Mapping[str, int]) -> None:
        super().__init__()
        self.transforms = nn.ModuleDict()
        for n, w in others.items():
            self.transforms[n] = nn.Sequential(nn.Linear(w, width), nn.ReLU(), nn.Linear(width, width))
        self.queries, self.keys, self.values = (
            nn.ModuleDict({n: nn.Linear(width, width) for n in others}) for _ in range(3)
        )
        self.out = nn.Linear(len(others) * width, width)

    def forward(self, tokens: Tensor, others: Mapping[str, Stream]) -> Tensor:
        """Return the enhanced tokens."""
        found = [self.attend(tokens, name, stream)[0] for name, stream in others.items()]
        anything = torch.stack([s.present for s in others.values()]).any(0)
        return tokens + self.out(torch.cat(found, dim=-1)) * anything.view(-1, 1, 1)

    def attend(self, tokens: Tensor, name: str, stream: Stream) -> tuple[Tensor, Tensor]:
        """Return what tokens find in a modality ``(batch, tokens, width)``, and weights ``(batch, tokens, steps)``."""
        x, query = self.transforms[name](stream.tensor), self.queries[name](tokens)
        scores = query @ self.keys[name](x).transpose(1, 2) / query.shape[-1] ** 0.5
        weights = masked_softmax(scores, stream.mask.unsqueeze(1))
        return weights @ self.values[name](x), weights


def layers_of(encoder: TextEncoder | None) -> nn.ModuleList:
    """Return the layers of a transformer; OptionError unless it is built like BERT."""
    assert encoder is not None
    count = getattr(encoder.model.config, "num_hidden_layers", 0)
    stacks = (m for m in encoder.model.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
    found = next(stacks, None)
    if found is None or embedding_layer(encoder) is None:
        raise OptionError(f"text encoder {encoder.name!r} has no place for the enhancement; use one built like BERT")
    return found


@contextmanager
def enhanced(layer: nn.Module, shift: Shift | None) -> Iterator[None]:
    """Apply ``shift`` to the tokens that enter ``layer``, within the context."""
    if shift is None:
        yield
        return

    def before(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return shift(given[0]), *given[1:]

    handle = layer.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
