"""Parts that are computed twice: the same function, less memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polymodal.nn.recompute import in_parts


@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_parts_give_the_same_rows_and_gradients(size: int) -> None:
    layer, x, y = nn.Linear(4, 5), torch.randn(7, 4, requires_grad=True), torch.randn(7, 5)

    def read(a: Tensor, b: Tensor) -> Tensor:
        return layer(a).tanh() * b

    whole = read(x, y)
    wanted = torch.autograd.grad(whole.square().sum(), [x, layer.weight])
    parts = in_parts(read, x, y, size=size)
    torch.testing.assert_close(parts, whole)
    found = torch.autograd.grad(parts.square().sum(), [x, layer.weight])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_part_is_read_twice_for_gradients_and_once_without() -> None:
    seen: list[int] = []

    def read(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x * x

    x = torch.randn(5, 2, requires_grad=True)
    in_parts(read, x, size=2).sum().backward()
    assert sorted(seen) == [1, 1, 2, 2, 2, 2]
    seen.clear()
    with torch.no_grad():
        in_parts(read, x, size=2)
    assert seen == [5]


def test_no_rows_are_one_call() -> None:
    assert in_parts(lambda x: x.mean(1), torch.zeros(0, 3, 2), size=4).shape == (0, 2)
