"""Late fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, utterance_encoder
from polymodal.nn.sequence import Context, Pooling


class LateFusion(Seamed):
    """Baseline: one encoder per modality, concatenation, a perceptron (MMSA's lf_dnn, with masks).

    With its defaults a small bidirectional GRU with attention pooling reads every sequence. No interaction between
    modalities before the perceptron's first ReLU, hence the control of every fusion method. Absent modalities
    contribute zeros.

    Args:
        schema: what the batches hold.
        width: features of each modality's vector and of the fused vector; even for recurrent contexts.
        context: network over the steps of a sequence: bidirectional ``lstm`` or ``gru``, ``transformer``, ``none``.
        layers: its layers.
        pool: how its states become one vector: ``last``, ``mean``, ``attention``.
        kernel: steps seen by the input convolution; 1 is a linear map.
        dropout: after the input map, between layers and around the perceptron.
    """

    family = "baseline"
    paper = "baseline; named LF-DNN in Cambria et al., CICLing 2017, arXiv:1707.09538"

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        context: Context = "lstm",
        layers: int = 1,
        pool: Pooling = "attention",
        kernel: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, kernel=kernel)
        fraction(dropout=dropout)
        self.inputs = Inputs(schema)
        self.encoders = nn.ModuleDict()
        for name, modality in self.inputs.modalities.items():
            self.encoders[name] = utterance_encoder(
                modality, width, context=context, layers=layers, pool=pool, kernel=kernel, dropout=dropout
            )
        self.mix = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width * len(self.encoders), width), nn.ReLU(), nn.Dropout(dropout)
        )
        self.heads = Heads(schema, width)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {name: self.encoders[name](stream) for name, stream in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, one vector per modality and the fused one."""
        fused = self.mix(torch.cat(list(vectors.values()), dim=1))
        return Output(self.heads(fused), {**vectors, "fused": fused})
