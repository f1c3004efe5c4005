"""EF-LSTM: the features of all modalities at every step, one stacked LSTM."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method, fraction, positive
from polymodal.nn.axis import concatenated
from polymodal.nn.fast import LSTM
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.subnet import final_state


class EFLSTM(Method):
    """Early-fusion LSTM (Cambria et al., CICLing 2017, arXiv 1707.09538, in the sizes of MMSA's ef_lstm).

    Departures from MMSA's code (885,605 parameters): no batch normalisation with the time axis as channel (100
    parameters; the loader standardises every feature instead), the state is read after the last true step, streams of
    different rates are brought to one axis by overlap-weighted averages. It has no notion of absence: a missing
    modality is zeros (``early-fusion`` adds a flag for it).

    Args:
        schema: what the batches hold.
        hidden: units of each layer.
        layers: of the LSTM.
        max_steps: longest common axis.
        dropout: between layers and around the perceptron.
    """

    family = "baseline"
    paper = "Cambria et al., Benchmarking Multimodal Sentiment Analysis, CICLing 2017, arXiv:1707.09538"
    handles_absence = False

    def __init__(
        self,
        schema: Schema,
        *,
        hidden: int = 128,
        layers: int = 4,
        max_steps: int = 50,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(schema)
        positive(hidden=hidden, layers=layers, max_steps=max_steps)
        fraction(dropout=dropout)
        self.max_steps = max_steps
        self.inputs = Inputs(schema)
        features = sum(m.width for m in self.inputs.modalities.values())
        between = dropout if layers > 1 else 0.0
        self.rnn = LSTM(features, hidden, layers, batch_first=True, dropout=between)
        self.mix = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.heads = Heads(schema, hidden)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the LSTM's last state."""
        # It knows no absence: whatever a stream says of it, a vector is one step of numbers, an image is pixels.
        shown = {
            n: replace(s, present=torch.ones_like(s.present)) if isinstance(s.values, Tensor) else s
            for n, s in batch.streams.items()
        }
        streams = self.inputs(replace(batch, streams=shown)).values()
        stream = concatenated([as_sequence(s) for s in streams], self.max_steps)
        assert stream.lengths is not None
        fused = final_state(self.rnn(stream.tensor)[0], stream.lengths)
        return Output(self.heads(self.mix(fused)), {"fused": fused})
