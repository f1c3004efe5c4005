"""MAG-BERT: audio and video nudge the token embeddings of a transformer before it reads them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, divides, fraction, positive
from polymodal.nn.axis import resample
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.text import TextEncoder
from polymodal.nn.transformer import Shift, SmallTransformer

EPSILON = 1e-6


class MAGBERT(Method):
    """Multimodal Adaptation Gate in BERT (Rahman et al., ACL 2020, arXiv 1908.05787).

    Between the embedding layer and the first encoder layer every token vector ``Z`` gets a displacement ``H`` made of
    the other modalities' vectors aligned with it, gated by text and never longer than ``beta ||Z||``; then everything
    is fine-tuned. The pooled first token, through a linear map and a tanh, is read.

    Departures:

    - any number of other modalities, each with its gate; an absent one adds nothing, a vector is the same at every
      word; with text alone there is no gate: plain fine-tuning, the control the paper needs;
    - a modality with one step per word gives its step to each of the word's pieces; any other is resampled by area to
      one step per word first. The first and last token ([CLS], [SEP]) get zeros, as in the original;
    - text that is no transformer's (hashed words, features) is mapped to ``width`` and read by a small transformer from
      scratch, with the gate between; its mean is read. Without a modality called ``text``, the first one of kind text,
      else the first one takes its place. A sample without text has no token to displace, so nothing but biases speaks;
    - the pooler starts anew: BERT's own is trained on next sentences.

    Args:
        schema: what the batches hold.
        beta: largest ratio of the displacement to the token vector.
        gate_dropout: after the gate's layer norm.
        dropout: before the prediction heads, and in the small transformer.
        width: features per token of the small transformer; a pre-trained one has its own.
        heads: its attention heads; must divide ``width``.
        layers: its layers.
    """

    family = "fusion"
    paper = (
        "Rahman et al., Integrating Multimodal Information in Large Pretrained Transformers, ACL 2020, arXiv:1908.05787"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        beta: float = 1.0,
        gate_dropout: float = 0.3,
        dropout: float = 0.1,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers)
        fraction(gate_dropout=gate_dropout, dropout=dropout)
        if beta < 0:
            raise OptionError(f"beta must not be negative, got {beta}")
        divides(width, heads=heads)
        self.inputs = Inputs(schema)
        self.anchor = schema.anchor
        own = self.inputs.modalities[self.anchor]
        encoder = self.transformer
        size = width if encoder is None else own.width
        self.small = SmallTransformer(own.width, width, heads, layers, dropout) if encoder is None else None
        if encoder is not None:
            check_embeddings(encoder)
        others = {n: m.width for n, m in self.inputs.modalities.items() if n != self.anchor}
        self.gate = AdaptationGate(size, others, beta, gate_dropout) if others else None
        self.pooler = nn.Sequential(nn.Linear(size, size), nn.Tanh())
        self.drop = nn.Dropout(dropout)
        self.heads = Heads(schema, size)
        nn.init.normal_(self.pooler[0].weight, std=0.02)  # type: ignore[arg-type]
        nn.init.zeros_(self.pooler[0].bias)  # type: ignore[arg-type]

    @property
    def transformer(self) -> TextEncoder | None:
        """The pre-trained encoder of the text, if it has one."""
        return self.inputs.transformer(self.anchor)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and, as ``fused``, the pooled vector."""
        streams = self.inputs(batch, raw=() if self.transformer is None else (self.anchor,))
        own = streams.pop(self.anchor)
        fused = self.drop(self.pooler(self.read(own, streams)))
        return Output(self.heads(fused), {"fused": fused})

    def read(self, text: Stream, others: dict[str, Stream]) -> Tensor:
        """Return what the transformer makes of the displaced tokens: ``(batch, width)``, zero where text is absent."""
        encoder = self.transformer
        if encoder is None:
            assert self.small is not None
            text = as_sequence(text)
            assert text.lengths is not None
            return self.small(text, self.shift(align(others, text.lengths, text.tensor.shape[1])))
        device = next(encoder.parameters()).device
        places, words = word_places(encoder, text)
        aligned = align(others, words.to(device), max(1, int(words.max())))
        spread_out = {n: spread(s, places.to(device)) for n, s in aligned.items()}
        with displaced(encoder, self.shift(spread_out)):
            return encoder(text).tensor[:, 0]

    def shift(self, others: dict[str, Stream]) -> Shift:
        """Return the function that displaces token vectors, given the aligned modalities."""
        gate = self.gate
        return (lambda z: z) if gate is None else (lambda z: gate(z, others))


class AdaptationGate(nn.Module):
    """``LayerNorm(Z + alpha H)``, ``H = sum_m relu(W_gm [x_m; Z]) * (W_m x_m)``, ``alpha = min(beta |Z| / |H|, 1)``.

    Token vectors ``(batch, tokens, width)`` and per modality an aligned stream of ``(batch, tokens, width_m)`` -> token
    vectors. Norms are per token; an absent modality adds nothing.
    """

    def __init__(self, width: int, others: Mapping[str, int], beta: float, dropout: float) -> None:
        super().__init__()
        self.beta = beta
        self.gates = nn.ModuleDict({n: nn.Linear(w + width, width) for n, w in others.items()})
        self.values = nn.ModuleDict({n: nn.Linear(w, width) for n, w in others.items()})
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)
        for linear in (*self.gates.values(), *self.values.values()):
            nn.init.normal_(linear.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, others: Mapping[str, Stream]) -> Tensor:
        """Return the displaced token vectors."""
        return self.drop(self.norm(z + self.displacement(z, others)))

    def displacement(self, z: Tensor, others: Mapping[str, Stream]) -> Tensor:
        """Return ``alpha H``, never longer than ``beta |Z|``."""
        h = torch.zeros_like(z)
        for name, stream in others.items():
            x = stream.tensor
            gate = torch.relu(self.gates[name](torch.cat([x, z], dim=-1)))
            h = h + gate * self.values[name](x) * stream.present.view(-1, 1, 1)
        lengths = [torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (z, h)]
        return (self.beta * lengths[0] / (lengths[1] + EPSILON)).clamp(max=1.0) * h


def align(streams: Mapping[str, Stream], lengths: Tensor, steps: int) -> dict[str, Stream]:
    """Return every stream with ``lengths`` (batch,) steps: sequences resampled by area, vectors repeated."""
    real = torch.arange(steps, device=lengths.device) < lengths[:, None]
    aligned = {}
    for name, s in streams.items():
        x = s.tensor.unsqueeze(1) * real.unsqueeze(-1) if s.lengths is None else resample(s, lengths, steps)
        aligned[name] = Stream(x, lengths, s.present)
    return aligned


def spread(stream: Stream, places: Tensor) -> Stream:
    """Return a stream of words as one of tokens: token t gets step ``places[:, t]``, zeros where that is -1."""
    index = places.clamp(min=0).unsqueeze(-1).expand(-1, -1, stream.tensor.shape[2])
    return replace(stream, values=stream.tensor.gather(1, index) * (places >= 0).unsqueeze(-1))


def word_places(encoder: TextEncoder, stream: Stream) -> tuple[Tensor, Tensor]:
    """Return which word, by spaces, each token belongs to: ``(batch, tokens)``, -1 for none; and words per text."""
    tokens = encoder.tokenizer(
        stream.texts, padding=True, truncation=True, max_length=encoder.max_tokens, return_offsets_mapping=True
    )
    rows, counts = [], []
    for text, offsets in zip(stream.texts, tokens["offset_mapping"], strict=True):
        starts = [match.start() for match in re.finditer(r"\S+", text)]
        # By its last character: some tokenizers count the space before a word to its first piece.
        rows.append([bisect_right(starts, end - 1) - 1 if end > start else -1 for start, end in offsets])
        counts.append(len(starts))
    return torch.tensor(rows), torch.tensor(counts)


def embedding_layer(encoder: TextEncoder) -> nn.Module | None:
    """Return the module that makes a transformer's first token vectors; None if it has none by the usual name."""
    return next((m for n, m in encoder.model.named_modules() if n.split(".")[-1] == "embeddings"), None)


def check_embeddings(encoder: TextEncoder) -> None:
    """Raise OptionError unless the gate fits between the transformer's embedding layer and its first layer."""
    config = encoder.model.config
    same = getattr(config, "embedding_size", None) in (None, config.hidden_size)
    if embedding_layer(encoder) is None or not same or not encoder.tokenizer.is_fast:
        raise OptionError(
            f"text encoder {encoder.name!r} has no place for the gate after its embeddings; use one built like BERT"
        )


@contextmanager
def displaced(encoder: TextEncoder, shift: Shift) -> Iterator[None]:
    """Apply ``shift`` to what the embedding layer returns, within the context."""
    layer = embedding_layer(encoder)
    assert layer is not None
    handle = layer.register_forward_hook(lambda module, given, out: shift(out))
    try:
        yield
    finally:
        handle.remove()
