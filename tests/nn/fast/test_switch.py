"""One switch: fast and slow are one function, and a gradient of a gradient is the slow one's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polymodal.core import OptionError
from polymodal.nn.fast.switch import enabled, run


class Cube(torch.autograd.Function):
    """x * x * y with a gradient that torch cannot differentiate."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return x * x * y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        return 2 * x * y * grad, x * x * grad


def slow(x: Tensor, y: Tensor) -> Tensor:
    return x * x * y


def test_the_environment_switches_to_the_slow_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (lambda: torch.ones(())), (lambda: torch.full((), 2.0))
    monkeypatch.delenv("POLYMODAL_FAST", raising=False)
    assert run(one, two) == 1
    assert not enabled(gains=False)
    monkeypatch.setenv("POLYMODAL_FAST", "0")
    assert run(one, two) == 2
    monkeypatch.setenv("POLYMODAL_FAST", "1")
    assert run(one, two) == 1
    assert enabled(gains=False)
    monkeypatch.setenv("POLYMODAL_FAST", "no")
    with pytest.raises(OptionError, match="POLYMODAL_FAST must be 0 or 1 or unset, got 'no'"):
        run(one, two)


def test_a_first_gradient_is_the_fast_ones() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    run(lambda x: Cube.apply(x, torch.tensor(2.0)), lambda x: x * torch.nan, x).backward()
    assert x.grad == 12


def test_second_gradients_are_those_of_finite_differences() -> None:
    x, y = torch.randn(2, 4, dtype=torch.double)
    inputs = (x.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, y: run(Cube.apply, slow, x, y), inputs)
    assert torch.autograd.gradgradcheck(lambda x, y: run(Cube.apply, slow, x, y), inputs)


def test_an_input_that_depends_on_another_counts_once() -> None:
    """f(x, 3 x) = 3 x^3: its derivatives at 2 are 36, 36, 18."""
    x = torch.tensor(2.0, requires_grad=True)
    first = torch.autograd.grad(run(Cube.apply, slow, x, 3 * x), x, create_graph=True)[0]
    second = torch.autograd.grad(first, x, create_graph=True)[0]
    assert (first.item(), second.item(), torch.autograd.grad(second, x)[0].item()) == (36, 36, 18)


def test_an_input_without_gradient_gets_none() -> None:
    x, y = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0)
    for again in (False, True):
        assert torch.autograd.grad(run(Cube.apply, slow, x, y), x, create_graph=again)[0] == 20
