"""Early fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Stream
from polymodal.methods.base import Method, fraction, positive
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.sequence import Context, Pooling, SequenceEncoder
from polymodal.nn.text import Tuning


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
        text_encoder: encoder of raw text: ``bow``, ``minilm``, a folder or a hub name.
        text_tuning: how a transformer text encoder trains: ``full`` or ``lora``.
    """

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
        text_encoder: str = "bow",
        text_tuning: Tuning = "full",
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, max_steps=max_steps)
        fraction(dropout=dropout)
        self.max_steps = max_steps
        self.inputs = Inputs(schema, text_encoder=text_encoder, text_tuning=text_tuning)
        features = sum(m.width + 1 for m in self.inputs.modalities.values())
        self.encoder = SequenceEncoder(features, width, context=context, layers=layers, pool=pool, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.heads = Heads(schema, width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and the encoder's vector."""
        streams = [as_sequence(stream) for stream in self.inputs(batch).values()]
        fused = self.encoder(fuse(streams, self.max_steps))
        return Output(self.heads(self.drop(fused)), {"fused": fused})


def fuse(streams: list[Stream], max_steps: int) -> Stream:
    """Return one sequence ``(batch, steps, sum of widths + one flag per stream)`` on each sample's common axis."""
    lengths = torch.stack([s.lengths for s in streams if s.lengths is not None]).amax(0).clamp(max=max_steps)
    steps = max(1, int(lengths.max()))
    there = lengths > 0
    real = torch.arange(steps, device=lengths.device) < lengths[:, None]
    parts = []
    for stream in streams:
        flag = (stream.present[:, None] & real).unsqueeze(2)
        parts += [resample(stream, lengths, steps), flag.to(stream.tensor.dtype)]
    return Stream(torch.cat(parts, dim=2), lengths, there)


def resample(stream: Stream, lengths: Tensor, steps: int) -> Tensor:
    """Resample the true steps of a sequence to ``lengths`` (batch,) steps by area: ``(batch, steps, width)``.

    Of a row with s true steps resampled to t, step j is the mean of the signal, constant over each frame, from j s/t to
    (j + 1) s/t. Zeros from ``lengths`` on and where the stream is absent, since padding is zero.
    """
    assert stream.lengths is not None
    x = stream.tensor
    # In units of 1/t frames everything is an integer: frame i is [i t, (i + 1) t), step j is [j s, (j + 1) s).
    s, t = stream.lengths.view(-1, 1, 1), lengths.view(-1, 1, 1)
    j = torch.arange(steps, device=x.device).view(1, -1, 1)
    i = torch.arange(x.shape[1], device=x.device).view(1, 1, -1)
    overlap = torch.minimum((j + 1) * s, (i + 1) * t) - torch.maximum(j * s, i * t)
    weight = overlap.clamp(min=0) / s.clamp(min=1)
    return weight.to(x.dtype) @ x
