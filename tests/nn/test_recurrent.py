"""The unrolled LSTM is torch's LSTM, with its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polymodal.nn.recurrent import lstm_states, unroll


@pytest.mark.parametrize(("rows", "hidden"), [(3, 5), (64, 128)])
def test_states_and_gradients_are_torchs(rows: int, hidden: int) -> None:
    torch.manual_seed(0)
    rnn, x = nn.LSTM(9, hidden, batch_first=True), torch.randn(rows, 6, 9)
    found, expected = lstm_states(rnn, x), rnn(x)[0]
    assert torch.allclose(found, expected, atol=1e-5)
    slope = torch.randn_like(expected)
    ours, torchs = (torch.autograd.grad((s * slope).sum(), list(rnn.parameters())) for s in (found, expected))
    for a, b in zip(ours, torchs, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_large_case_is_unrolled_and_the_others_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("polymodal.nn.recurrent.unroll", lambda *a: calls.append(a) or unroll(*a))
    rnn, x = nn.LSTM(9, 128, batch_first=True), torch.randn(64, 2, 9)
    lstm_states(rnn, x[:8])
    lstm_states(rnn, x.clone().requires_grad_())
    lstm_states(nn.LSTM(9, 128, 2, batch_first=True), x)
    assert not calls
    lstm_states(rnn, x)
    assert len(calls) == torch.backends.mkldnn.is_available()


def test_the_gradient_through_states_and_cells_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    projected = torch.randn(4, 2, 12, dtype=torch.double, requires_grad=True)
    recurrent = torch.randn(12, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(unroll, (projected, recurrent))
