"""TFN: the outer product of all modalities' vectors, each with a 1 in front."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.fast import Dropout
from polymodal.nn.fusion import tensor_product
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs
from polymodal.nn.subnet import Subnets


class TFN(Seamed):
    """Tensor Fusion Network (Zadeh et al., EMNLP 2017, arXiv 1707.07250).

    ``F = [1; h_1] x [1; h_2] x [1; h_3]`` holds every unimodal vector, every pairwise and every triple product once; a
    perceptron reads the flattened cube. Sizes follow MMSA, whose MOSI model has 9,497,043 trainable parameters.

    Departures from MMSA's code: means and final states are taken over true steps only, and text dropout acts. An absent
    modality contributes the 1 alone, which leaves all products of the others in the cube.

    Args:
        schema: what the batches hold.
        width: features of each modality's vector.
        widths: modality -> features of its vector, where they differ.
        recurrent: modalities read by an LSTM in their order; all others are averaged over time.
        hidden: units of the LSTM.
        head: units of the two layers after the cube.
        dropout: inside the encoders.
        cube_dropout: on the flattened cube.
        squash: regressions with a known range end in a sigmoid over it.
    """

    family = "fusion"
    paper = "Zadeh et al., Tensor Fusion Network for Multimodal Sentiment Analysis, EMNLP 2017, arXiv:1707.07250"
    modality_counts = (1, 3)

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 32,
        widths: dict[str, int] = {},  # noqa: B006 (never changed)
        recurrent: tuple[str, ...] = ("text",),
        hidden: int = 128,
        head: int = 64,
        dropout: float = 0.3,
        cube_dropout: float = 0.5,
        squash: bool = True,
    ) -> None:
        super().__init__(schema)
        positive(width=width, hidden=hidden, head=head)
        fraction(dropout=dropout, cube_dropout=cube_dropout)
        self.inputs = Inputs(schema)
        self.nets = Subnets(
            self.inputs.modalities, width=width, widths=widths, recurrent=recurrent, hidden=hidden, dropout=dropout
        )
        cube = prod(size + 1 for size in self.nets.sizes)
        self.mix = nn.Sequential(
            Dropout(cube_dropout), nn.Linear(cube, head), nn.ReLU(), nn.Linear(head, head), nn.ReLU()
        )
        self.squash = squash
        self.heads = Heads(schema, head)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return self.nets(self.inputs(batch))

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, one vector per modality and the fused one."""
        fused = self.mix(tensor_product(list(vectors.values())))
        predictions = self.heads(fused)
        for target in self.schema.joint_targets if self.squash else ():
            if target.range is not None:
                low, high = target.range
                # The head starts at the middle of the range; the sigmoid wants it at 0.
                predictions[target.name] = low + (high - low) * torch.sigmoid(
                    predictions[target.name] - (low + high) / 2
                )
        return Output(predictions, {**vectors, "fused": fused})
