"""Sequences cut down to what a network with a longest length can read."""

from __future__ import annotations

from polymodal.core import Stream
from polymodal.nn.axis import resample
from polymodal.nn.traced import longest, traced


def shortened(stream: Stream, steps: int) -> Stream:
    """Return a sequence of at most ``steps`` steps: longer ones are resampled by area, others stay as they are."""
    assert stream.lengths is not None
    if traced():
        steps = longest(stream.lengths, [stream.tensor.shape[1]], steps)
    elif stream.tensor.shape[1] <= steps:
        return stream
    lengths = stream.lengths.clamp(max=steps)
    return Stream(resample(stream, lengths, steps), lengths, stream.present)
