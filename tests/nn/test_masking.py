"""Means over the samples that take part."""

from __future__ import annotations

import torch

from polymodal.nn.masking import mean_where


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
