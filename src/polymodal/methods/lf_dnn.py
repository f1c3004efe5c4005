"""LF-DNN: separate encoders, concatenation, a perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs
from polymodal.nn.subnet import Subnets


class LFDNN(Seamed):
    """Late fusion by a deep network (Cambria et al., CICLing 2017, arXiv 1707.09538, in the sizes of MMSA's lf_dnn).

    TFN with the outer product replaced by concatenation, hence the control of TFN and LMF; 597,171 parameters in MMSA's
    MOSI configuration. Departures from MMSA's code: means and final states are taken over true steps only, text dropout
    acts. Absent modalities contribute zeros.

    Args:
        schema: what the batches hold.
        width: features of each modality's vector.
        widths: modality -> features of its vector, where they differ.
        recurrent: modalities read by an LSTM in their order; all others are averaged over time.
        hidden: units of the LSTM.
        head: units of the two layers after the concatenation.
        dropout: inside the encoders and on the concatenation.
    """

    family = "baseline"
    paper = "Cambria et al., Benchmarking Multimodal Sentiment Analysis, CICLing 2017, arXiv:1707.09538"

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        widths: dict[str, int] = {},  # noqa: B006 (never changed)
        recurrent: tuple[str, ...] = ("text",),
        hidden: int = 128,
        head: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, hidden=hidden, head=head)
        fraction(dropout=dropout)
        self.inputs = Inputs(schema)
        self.nets = Subnets(
            self.inputs.modalities, width=width, widths=widths, recurrent=recurrent, hidden=hidden, dropout=dropout
        )
        total = sum(self.nets.sizes)
        self.mix = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(total, head), nn.ReLU(), nn.Linear(head, head), nn.ReLU()
        )
        self.heads = Heads(schema, head)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return self.nets(self.inputs(batch))

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, one vector per modality and the fused one."""
        fused = self.mix(torch.cat(list(vectors.values()), dim=1))
        return Output(self.heads(fused), {**vectors, "fused": fused})
