"""Distances of distributions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polymodal.nn.discrepancy import coral, gaussian_kernel, mmd, moment_discrepancy, multi_kernel_mmd


def test_the_discrepancy_of_a_shift_is_the_length_of_the_shift() -> None:
    x, row = torch.rand(32, 128) / 2, torch.randperm(32)
    assert moment_discrepancy(x, x) == 0
    assert moment_discrepancy(x, x + 0.5).item() == pytest.approx(0.5 * 128**0.5, abs=1e-4)
    y = torch.rand(20, 128)
    assert moment_discrepancy(x[row], y).item() == pytest.approx(moment_discrepancy(x, y).item(), rel=1e-5)


def test_the_discrepancy_sees_a_difference_of_spread_where_means_agree() -> None:
    narrow = 0.5 + torch.tensor([-0.1, 0.1]).repeat(8)[:, None]
    wide = 0.5 + torch.tensor([-0.3, 0.3]).repeat(8)[:, None]
    # Second moments 0.01 and 0.09, fourth 0.0001 and 0.0081; odd ones vanish.
    assert moment_discrepancy(narrow, wide).item() == pytest.approx(0.08 + 0.008, abs=1e-6)
    rare, constant = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.full((4, 1), 0.25)
    assert moment_discrepancy(rare, constant).item() == pytest.approx(3 / 16 + 3 / 32 + 21 / 256 + 15 / 256)


def test_the_discrepancy_has_a_finite_gradient_where_the_samples_coincide() -> None:
    x = torch.rand(6, 4, requires_grad=True)
    moment_discrepancy(x, x.detach().clone()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_discrepancy_is_that_of_mean_variance_and_skew() -> None:
    a, b = torch.randn(40, 3), torch.rand(50, 3)
    parts = [(a.mean(0) - b.mean(0)).norm(), (a.var(0, correction=0) - b.var(0, correction=0)).norm()]
    skews = [((x - x.mean(0)) ** 3).mean(0) for x in (a, b)]
    expected = parts[0] + parts[1] + (skews[0] - skews[1]).norm()
    torch.testing.assert_close(moment_discrepancy(a, b, moments=3), expected)
    same = a.clone().requires_grad_()
    moment_discrepancy(same, same.detach(), moments=3).backward()
    assert torch.isfinite(same.grad).all()


def test_the_kernel_has_its_closed_form() -> None:
    value = gaussian_kernel(torch.zeros(1, 4), torch.full((1, 4), 2.0), scale=4**2)
    assert value.item() == pytest.approx(math.exp(-1))


def test_moments_of_rows_that_do_not_count_change_nothing() -> None:
    x, y, rows = torch.rand(6, 4), torch.rand(6, 4), torch.tensor([True] * 6 + [False] * 3)
    junk = torch.full((3, 4), torch.nan)
    found = moment_discrepancy(torch.cat([x, junk]), torch.cat([y, junk]), rows, rows)
    torch.testing.assert_close(found, moment_discrepancy(x, y))
    assert moment_discrepancy(x, y, torch.zeros(6, dtype=torch.bool)) == 0


def test_the_mean_discrepancy_is_the_mean_of_its_kernel_over_pairs() -> None:
    x, y, scale = torch.randn(4, 3), torch.randn(6, 3) + 1, 3.0

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(-((a - b) ** 2).sum().item() / scale)

    within = [
        sum(kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    between = sum(kernel(a, b) for a in x for b in y) / 24
    everyone = [torch.ones(len(s), dtype=torch.bool) for s in (x, y)]
    assert mmd(x, y, *everyone, scale).item() == pytest.approx(sum(within) - 2 * between, rel=1e-5)


def test_two_points_one_apart_have_the_closed_form_of_one_kernel() -> None:
    x, everyone = torch.tensor([[0.0], [0.0]]), torch.ones(2, dtype=torch.bool)
    found = mmd(x, x + 1, everyone, everyone, 2.0, unbiased=False)
    assert found.item() == pytest.approx(2 - 2 * math.exp(-0.5), rel=1e-5)


def test_many_kernels_are_the_mean_of_each_and_scale_with_the_data() -> None:
    x, y, rows = torch.randn(9, 3), torch.randn(9, 3) + 1, torch.ones(9, dtype=torch.bool)
    joint = torch.cat([x, y])
    spread = torch.cdist(joint, joint).square().mean()
    each = [mmd(x, y, rows, rows, float(spread) * 2.0**i, unbiased=False) for i in range(-2, 3)]
    torch.testing.assert_close(multi_kernel_mmd(x, y, rows, rows), torch.stack(each).mean(), rtol=1e-4, atol=1e-6)
    far = multi_kernel_mmd(100 * x, 100 * y, rows, rows)
    torch.testing.assert_close(far, multi_kernel_mmd(x, y, rows, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distance", [multi_kernel_mmd, coral])
def test_a_distance_is_symmetric_zero_of_itself_and_grows_with_the_shift(distance: Callable[..., Tensor]) -> None:
    x, y = torch.randn(20, 4), torch.randn(20, 4) * torch.tensor([1.0, 3.0, 1.0, 0.2])
    rows = torch.arange(20) < 15
    assert distance(x, x, rows, rows).abs() < 1e-6
    torch.testing.assert_close(distance(x, y, rows, rows), distance(y, x, rows, rows))
    torch.testing.assert_close(distance(x, y, rows, rows), distance(x[rows], y[rows], rows[:15], rows[:15]))
    assert distance(x, y, rows, rows) > 0
    assert distance(x, y, rows, torch.zeros_like(rows)) == 0
    x.requires_grad_()
    distance(x, x, rows, ~rows).backward()
    assert torch.isfinite(x.grad).all()  # type: ignore[arg-type]
