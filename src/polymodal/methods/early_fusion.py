"""Early fusion."""

from __future__ import annotations

from torch import nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method, fraction, positive
from polymodal.nn.axis import flagged
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.sequence import Context, Pooling, SequenceEncoder


class EarlyFusion(Method):
    """Baseline: concatenate the features of every step, one recurrent network (EF-LSTM as in Cambria et al., CICLing
    2017, arXiv 1707.09538; without masks and standardisation it is MMSA's ef_lstm).

    The common time axis of a sample has as many steps as its longest sequence, at most ``max_steps``. Each stream is
    resampled to it by averaging what overlaps with a step, weighted by the overlap: an average of frames where a stream
    is longer, the nearest frame where it is shorter, the identity where the lengths agree; a vector is repeated. A flag
    per modality tells absent from zero.

    Args:
        schema: what the batches hold.
        width: features of the fused vector; even for recurrent contexts.
        context: network over the common axis: bidirectional ``lstm`` or ``gru``, ``transformer``, ``none``.
        layers: its layers.
        pool: how its states become one vector: ``last``, ``mean``, ``attention``.
        max_steps: longest common axis; more steps cost time and make recurrent networks forget.
        dropout: after the input map, between layers and before the heads.
    """

    family = "baseline"
    paper = "Cambria et al., Benchmarking Multimodal Sentiment Analysis, CICLing 2017, arXiv:1707.09538"

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        context: Context = "lstm",
        layers: int = 1,
        pool: Pooling = "last",
        max_steps: int = 50,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, max_steps=max_steps)
        fraction(dropout=dropout)
        self.max_steps = max_steps
        self.inputs = Inputs(schema)
        features = sum(m.width + 1 for m in self.inputs.modalities.values())
        self.encoder = SequenceEncoder(features, width, context=context, layers=layers, pool=pool, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.heads = Heads(schema, width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the encoder's vector."""
        streams = [as_sequence(stream) for stream in self.inputs(batch).values()]
        fused = self.encoder(flagged(streams, self.max_steps))
        return Output(self.heads(self.drop(fused)), {"fused": fused})
