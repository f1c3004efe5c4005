"""Multimodal Transformer."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Stream
from polymodal.methods.base import Method, divides, fraction, per_modality, positive
from polymodal.nn.attention import CrossModalStack
from polymodal.nn.crossmodal import Crossings
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, as_sequence


class MulT(Method):
    """Multimodal Transformer for unaligned sequences (Tsai et al., ACL 2019, arXiv 1906.00295).

    Every modality (target) attends at every layer to the low-level features of every other one (source), at any pair of
    steps; the results for one target are concatenated, mixed by a self-attention transformer with at least 3 layers,
    and its last step is read. Defaults are the paper's for CMU-MOSEI; what it does not list is the code's default.

    Departures, all of them corrections:

    - padded steps are never attended to, the offset of the causal mask comes from each sample's true lengths, and the
      last true step is read (the original does all three with padding);
    - every true step gets its position, also where its first feature is exactly zero;
    - the input convolution is never skipped; a sequence shorter than its kernel is padded to it, a vector has kernel 1;
    - any number of modalities; a single one is read by its memory transformer alone;
    - an absent source adds nothing to its targets, an absent target is read as zeros.

    Args:
        schema: what the batches hold.
        width: features per step after the input convolution.
        heads: attention heads; must divide ``width``.
        layers: layers of each cross-modal transformer; memory transformers have max(layers, 3).
        kernel: steps seen by the input convolution, for all modalities or by name.
        causal: mask source steps later than the target step, shifted by the difference of lengths.
        positions: add sinusoidal positions (MMSA leaves them out).
        text_dropout: on the input of the text modality (of kind text, or named ``text``).
        embed_dropout: on the input of each transformer.
        attention_dropout: on attention weights, for all modalities or by the name of the source; memory transformers
            use the first modality's.
        layer_dropout: after the ReLU and on the residual branches of each layer.
        output_dropout: in the residual block before the heads.
    """

    family = "attention"
    paper = (
        "Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences, ACL 2019, arXiv:1906.00295"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 40,
        heads: int = 8,
        layers: int = 4,
        kernel: int | dict[str, int] = 3,
        causal: bool = True,
        positions: bool = True,
        text_dropout: float = 0.3,
        embed_dropout: float = 0.25,
        attention_dropout: float | dict[str, float] = 0.1,
        layer_dropout: float = 0.1,
        output_dropout: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers)
        fraction(text_dropout=text_dropout, embed_dropout=embed_dropout)
        fraction(layer_dropout=layer_dropout, output_dropout=output_dropout)
        divides(width, heads=heads)
        names = schema.names
        kernels = per_modality("kernel", kernel, names, positive)
        dropouts = per_modality("attention_dropout", attention_dropout, names, fraction)
        self.inputs = Inputs(schema)
        self.text_names = schema.language
        self.text_drop = nn.Dropout(text_dropout)
        self.kernels = {m.name: 1 if m.kind == "vector" else kernels[m.name] for m in schema.modalities}
        self.convolutions = nn.ModuleDict()
        for n, m in self.inputs.modalities.items():
            self.convolutions[n] = nn.Conv1d(m.width, width, self.kernels[n], bias=False)
        stack = partial(
            CrossModalStack,
            heads=heads,
            causal=causal,
            positions=positions,
            layer_dropout=layer_dropout,
            embed_dropout=embed_dropout,
        )
        self.crossings = Crossings(names, lambda s, t: stack(width, layers=layers, attention_dropout=dropouts[s]))
        mixed = width * max(1, len(names) - 1)
        memory = partial(stack, mixed, layers=max(layers, 3), attention_dropout=dropouts[names[0]])
        self.memories = nn.ModuleDict({t: memory() for t in names})
        total = mixed * len(names)
        self.residual = nn.Sequential(
            nn.Linear(total, total), nn.ReLU(), nn.Dropout(output_dropout), nn.Linear(total, total)
        )
        self.heads = Heads(schema, total)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, one vector per target modality and their concatenation after the residual block."""
        streams = {name: self.convolve(name, stream) for name, stream in self.inputs(batch).items()}
        vectors = {name: self.read(name, streams) for name in streams}
        fused = torch.cat(list(vectors.values()), dim=1)
        fused = fused + self.residual(fused)
        return Output(self.heads(fused), {**vectors, "fused": fused})

    def convolve(self, name: str, stream: Stream) -> Stream:
        """Return the low-level sequence ``(batch, time - kernel + 1, width)`` of a modality, zero at padding."""
        stream = as_sequence(stream)
        assert stream.lengths is not None
        lost = self.kernels[name] - 1
        x = self.text_drop(stream.tensor) if name in self.text_names else stream.tensor
        x = F.pad(x, (0, 0, 0, torch.sym_max(0, lost + 1 - x.shape[1])))
        x = self.convolutions[name](x.transpose(1, 2)).transpose(1, 2)
        lengths = (stream.lengths - lost).clamp(min=1) * (stream.lengths > 0)
        low = Stream(x, lengths, stream.present)
        return Stream(x * low.mask.unsqueeze(-1), lengths, stream.present)

    def read(self, target: str, streams: dict[str, Stream]) -> Tensor:
        """Return the memory transformer's last true step for one target modality; zeros where it is absent."""
        low = streams[target]
        assert low.lengths is not None
        x = self.memories[target](Stream(self.crossings.read(target, streams), low.lengths, low.present))
        rows = torch.arange(x.shape[0], device=x.device)
        # At length 0 this reads step 0, which the stack has set to zero.
        return x[rows, (low.lengths - 1).clamp(min=0)]
