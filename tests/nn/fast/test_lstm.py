"""An LSTM works in half precision on any CPU."""

from __future__ import annotations

import torch

from polymodal.nn.fast import LSTM


def test_half_precision_changes_the_states_by_its_rounding_only() -> None:
    torch.manual_seed(0)
    rnn, x = LSTM(5, 4, batch_first=True), torch.randn(3, 7, 5)
    with torch.autocast("cpu", torch.bfloat16):
        states = rnn(x)[0]
    states.float().sum().backward()
    assert torch.allclose(states.float(), rnn(x)[0], atol=0.02)
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.any() for p in rnn.parameters())
