"""Products through oneDNN are the products of torch, with the same gradients, or are left to torch."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn import linear as module
from polymodal.nn.linear import Linear, linear, speed_up, suits

ROWS, IN, OUT = 96, 128, 160


def gradients(out: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    slope = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((out * slope).sum(), inputs)


def whole() -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, IN), torch.randn(OUT, IN)


def three_dimensions() -> tuple[Tensor, Tensor]:
    return torch.randn(12, 8, IN).transpose(0, 1), torch.randn(OUT, IN)


def parts_of_wider_matrices() -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, 3 * IN)[:, IN : 2 * IN], torch.randn(OUT, 2 * IN)[:, :IN]


@pytest.mark.parametrize("make", [whole, three_dimensions, parts_of_wider_matrices])
def test_values_and_gradients_are_torchs(make) -> None:
    torch.manual_seed(0)
    x, weight = (t.requires_grad_() for t in make())
    bias = torch.randn(OUT, requires_grad=True)
    assert suits(x, x.numel() * OUT) == module._AVAILABLE
    ours, torchs = linear(x, weight, bias), F.linear(x, weight, bias)
    assert torch.allclose(ours, torchs, atol=1e-4)
    for a, b in zip(gradients(ours, (x, weight, bias)), gradients(torchs, (x, weight, bias)), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_a_part_of_a_wider_matrix_does_not_fall_into_a_plain_loop() -> None:
    x, weight = torch.randn(1024, 512), torch.randn(256, 700)[:, :512]
    started = time.process_time()
    linear(x, weight)
    assert time.process_time() - started < 0.5  # 0.3 thousand million products; the plain loop takes seconds


def test_what_onednn_should_not_do_is_left_to_torch() -> None:
    x, weight = whole()
    count = x.numel() * OUT
    assert not suits(x[:2], 2 * IN * OUT)
    assert not suits(x.double(), count)
    assert not suits(x.to("meta"), count)
    with torch.autocast("cpu", torch.bfloat16):
        assert not suits(x, count)
        assert linear(x, weight).dtype == torch.bfloat16


def test_speeding_up_keeps_names_parameters_and_results() -> None:
    net = nn.Sequential(nn.Linear(IN, OUT), nn.ReLU(), nn.Sequential(nn.Linear(OUT, IN)))
    x, before = torch.randn(ROWS, IN), dict(net.named_parameters())
    expected = net(x)
    speed_up(net)
    assert {n: id(p) for n, p in net.named_parameters()} == {n: id(p) for n, p in before.items()}
    assert sum(isinstance(m, Linear) for m in net.modules()) == 2
    assert torch.allclose(net(x), expected, atol=1e-5)
