"""Dropout drops each element as often as it says, alone, and keeps the mean."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F

from polymodal.nn.fast import Dropout
from polymodal.nn.fast.dropout import LEAST, kept

module = importlib.import_module("polymodal.nn.fast.dropout")


@pytest.fixture(autouse=True)
def _on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setenv("POLYMODAL_FAST", "1")


def test_each_of_the_four_elements_of_a_random_number_is_dropped_as_often_and_alone() -> None:
    keep = kept(torch.empty(4, 100_003), round(0.3 * 2**16)).flatten()
    shares = torch.stack([keep[i::4].float().mean() for i in range(4)])
    assert torch.allclose(shares, torch.full((4,), 0.7), atol=0.006)
    both = (keep[:-1] & keep[1:]).float().mean()
    assert abs(both.item() - 0.49) < 0.006


def test_what_is_left_is_scaled_so_that_the_mean_stays_and_the_gradient_is_the_mask() -> None:
    x = torch.ones(400, 1000, requires_grad=True)
    y = Dropout(0.25)(x)
    assert torch.allclose(y.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(y.mean().item() - 1) < 0.005
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y)


@pytest.mark.parametrize("switch", ["0", "1"])
def test_it_acts_in_training_only(monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    monkeypatch.setenv("POLYMODAL_FAST", switch)
    drop, x = Dropout(0.5), torch.ones(LEAST)
    assert 0 < drop(x).count_nonzero() < LEAST
    assert torch.equal(drop.eval()(x), x)
    assert not Dropout(1.0)(x).any()
    assert torch.equal(Dropout(0.0)(x), x)


def test_small_inputs_an_intel_processor_and_the_switch_leave_it_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def torchs(count: int) -> bool:
        x = torch.ones(count)
        torch.manual_seed(1)
        found = Dropout(0.5)(x)
        torch.manual_seed(1)
        return torch.equal(found, F.dropout(x, 0.5))

    assert torchs(LEAST - 1)
    assert not torchs(LEAST)
    monkeypatch.setenv("POLYMODAL_FAST", "0")
    assert torchs(LEAST)
    monkeypatch.delenv("POLYMODAL_FAST")
    for intel in (True, False):
        monkeypatch.setattr(module, "_intel", lambda intel=intel: intel)
        assert torchs(LEAST) == intel


def test_half_precision_stays_half_precision() -> None:
    assert Dropout(0.5)(torch.ones(LEAST, dtype=torch.bfloat16)).dtype == torch.bfloat16
