"""Attention in pieces is its formula, with the same dropout, and so are its first and second gradients."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.nn.fast import attention
from polymodal.nn.fast.attention import LEAST, plain

module = importlib.import_module("polymodal.nn.fast.attention")


def inputs(dtype: torch.dtype = torch.double) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4, dtype=dtype, requires_grad=True) for n in (4, 5, 5))
    visible = torch.rand(2, 4, 5) > 0.3
    visible[..., 0] = True
    return (q, k, v), visible


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_FAST", "1")


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the kernel, which runs whatever the size, keeps."""
    drawn: list[Tensor] = []
    kept = module.kept
    monkeypatch.setattr(module, "LEAST", 0)
    monkeypatch.setattr(module, "kept", lambda *a: drawn.append(kept(*a)) or drawn[-1])
    return drawn


def test_without_dropout_it_is_torchs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    given, visible = inputs(torch.float32)
    wanted = F.scaled_dot_product_attention(*given, visible.unsqueeze(1))
    assert torch.allclose(attention(*given, visible), wanted, atol=1e-6)
    monkeypatch.setenv("POLYMODAL_FAST", "0")
    assert torch.allclose(attention(*given, visible), wanted, atol=1e-6)


def test_with_dropout_it_is_its_formula_with_the_weights_it_dropped(masks: list[Tensor]) -> None:
    given, visible = inputs()
    out = attention(*given, visible, 0.25)
    expected = plain(*given, visible, lambda weights: weights * torch.stack(masks) / 0.75)
    assert torch.allclose(out, expected)
    slope = torch.randn_like(out)
    found, wanted = (torch.autograd.grad((o * slope).sum(), given) for o in (out, expected))
    assert all(torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))


def second(out: Tensor, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradient of the squared length of the gradient."""
    first = torch.autograd.grad(out.square().sum(), given, create_graph=True)
    return torch.autograd.grad(sum(g.square().sum() for g in first), given)


def test_second_gradients_through_dropout_are_those_of_the_formula(masks: list[Tensor]) -> None:
    given, visible = inputs()
    found = second(attention(*given, visible, 0.25), given)
    wanted = second(plain(*given, visible, lambda weights: weights * torch.stack(masks) / 0.75), given)
    assert all(torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))


def test_second_gradients_through_torchs_fused_kernel_are_those_of_the_formula() -> None:
    given, visible = inputs(torch.float32)
    found, wanted = second(attention(*given, visible), given), second(plain(*given, visible), given)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_second_gradients_are_those_of_finite_differences() -> None:
    given, visible = inputs()
    assert torch.autograd.gradgradcheck(lambda *qkv: attention(*qkv, visible), given)


@pytest.mark.parametrize(("steps", "switch"), [(20, "1"), (200, "1"), (20, "0")])
def test_the_mean_over_dropouts_is_attention_without(monkeypatch: pytest.MonkeyPatch, steps: int, switch: str) -> None:
    monkeypatch.setenv("POLYMODAL_FAST", switch)
    torch.manual_seed(0)
    assert 2 * 20 * 20 < LEAST <= 2 * 200 * 200
    q, k, v = torch.randn(3, 1, 2, steps, 8)
    visible = torch.ones(1, 1, steps, dtype=torch.bool)
    mean = torch.stack([attention(q, k, v, visible, 0.2) for _ in range(200)]).mean(0)
    still = attention(q, k, v, visible)
    assert (mean - still).abs().mean() < 0.1 * still.abs().mean()
