"""Means over the samples that take part."""

from __future__ import annotations

import torch

from polymodal.nn.masking import masked_error, masked_max, masked_mean, mean_rows, mean_where


def test_only_chosen_rows_count_whatever_the_others_hold() -> None:
    values = torch.tensor([1.0, 3.0, torch.nan], requires_grad=True)
    mean = mean_where(values, torch.tensor([True, True, False]))
    assert mean == 2
    (gradient,) = torch.autograd.grad(mean, values)
    assert gradient.tolist() == [0.5, 0.5, 0.0]


def test_no_row_gives_zero_that_can_still_be_differentiated() -> None:
    values = torch.ones(3, requires_grad=True)
    mean = mean_where(values, torch.zeros(3, dtype=torch.bool))
    assert mean == 0
    assert not torch.autograd.grad(mean, values)[0].any()


def test_what_is_masked_may_hold_anything() -> None:
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True, True, False, False], [False] * 4])
    x[~mask] = torch.nan
    x.requires_grad_()
    mean, error = masked_mean(x, mask), masked_error(x, torch.zeros_like(x), mask)
    torch.testing.assert_close(mean[0], x[0, :2].mean(0))
    torch.testing.assert_close(error[0], x[0, :2].square().mean())
    assert not mean[1].any()
    assert error[1] == 0
    (gradient,) = torch.autograd.grad(mean.sum() + error.sum(), x)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()
    rows = torch.tensor([True, False])
    torch.testing.assert_close(mean_rows(x[:, 0], rows), x[0, 0])


def test_the_maximum_is_that_of_true_steps_and_zero_without_any() -> None:
    x = torch.tensor([[[-3.0, 1.0], [-2.0, -4.0], [0.0, 7.0]], [[5.0, 5.0], [0.0, 0.0], [0.0, 0.0]]])
    x.requires_grad_()
    high = masked_max(x, torch.tensor([[True, True, False], [False] * 3]))
    assert high.tolist() == [[-2.0, 1.0], [0.0, 0.0]]
    (gradient,) = torch.autograd.grad(high.sum(), x)
    assert gradient.tolist() == [[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0]] * 3]
