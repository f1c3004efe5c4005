"""Longest lengths."""

from __future__ import annotations

from dataclasses import replace

import torch

from polymodal.core import Stream
from polymodal.nn.shortened import shortened


def test_longer_sequences_are_resampled_and_others_stay() -> None:
    here = torch.ones(2, dtype=torch.bool)
    stream = Stream(torch.arange(12.0).view(2, 6, 1), torch.tensor([6, 2]), here)
    assert shortened(stream, 6) is stream
    short = shortened(replace(stream, values=stream.tensor * stream.mask.unsqueeze(2)), 3)
    assert short.tensor[:, :, 0].tolist() == [[0.5, 2.5, 4.5], [6.0, 7.0, 0.0]]
    assert short.lengths is not None
    assert short.lengths.tolist() == [3, 2]
