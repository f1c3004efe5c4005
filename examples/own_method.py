"""A method of your own in one file: a gate decides, sample by sample, how much each modality counts.

python examples/own_method.py
polymodal fit examples/own_method.py:Gated --data synthetic:talk --set width=32
"""

from __future__ import annotations

import torch
from torch import nn

import polymodal
from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method, positive
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, utterance_encoder
from polymodal.testing import SCHEMAS, check_method


class Gated(Method):
    """Baseline: the fused vector is a mean of the modalities' vectors, weighted by a learned softmax.

    Args:
        schema: what the batches hold.
        width: features of each vector; even.
    """

    paper = "baseline of this example"

    def __init__(self, schema: Schema, *, width: int = 32) -> None:
        super().__init__(schema)
        positive(width=width)
        self.inputs = Inputs(schema)  # text becomes a sequence of hashed words
        self.encoders = nn.ModuleDict({n: utterance_encoder(m, width) for n, m in self.inputs.modalities.items()})
        self.gate = nn.Linear(width, 1)
        self.heads = Heads(schema, width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the fused vector and the weights (batch, modalities)."""
        streams = self.inputs(batch)
        vectors = torch.stack([self.encoders[n](s) for n, s in streams.items()], dim=1)  # (batch, modalities, width)
        scores = self.gate(vectors).squeeze(2).masked_fill(~batch.present, -1e9)
        weights = torch.softmax(scores, dim=1) * batch.present  # an absent modality counts nothing
        fused = (weights.unsqueeze(2) * vectors).sum(1)
        return Output(self.heads(fused), {"fused": fused, "weights": weights})


if __name__ == "__main__":
    few = "2-sequence-vector-classification"  # without schemas= on all of them, which takes a minute
    check_method(Gated, schemas={few: SCHEMAS[few]})
    run = polymodal.fit(f"{__file__}:Gated", "synthetic:talk?n=200", epochs=3, out="runs/own-method")
    for row in polymodal.evaluate(run)["rows"]:
        if row["main"] and row["split"] == "test":
            print(f"{row['metric']}, {row['condition']:22} {row['mean']:.3f}")
