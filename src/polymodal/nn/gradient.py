"""Layers that change nothing but the gradient, and how strongly they do."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def scale_gradient(x: Tensor, factor: float | Tensor, *, noise: bool = False) -> Tensor:
    """Return ``x``; what flows back through it is multiplied by ``factor``.

    A factor of -1 is gradient reversal (Ganin & Lempitsky, ICML 2015), 0 stops the gradient.

    Args:
        factor: a number, or a tensor without gradient that broadcasts to ``x``; what counts is its value when the
            gradient arrives.
        noise: add Gaussian noise with the standard deviation of all elements of the gradient before it is multiplied.
    """
    scaled: Tensor = _Scaled.apply(x, factor, noise)
    return scaled


def ramp(share: float) -> float:
    """Return lambda(p) = 2 / (1 + exp(-10 p)) - 1: from 0 at p = 0 to almost 1 at p = 0.5 (Ganin et al., JMLR 2016)."""
    return 2 / (1 + math.exp(-10 * share)) - 1


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float | Tensor, noise: bool) -> Tensor:
        ctx.factor, ctx.noise = factor, noise
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        scaled = grad * ctx.factor
        if ctx.noise:
            scaled = scaled + (grad.std(correction=0) + 1e-8) * torch.randn_like(grad)
        return scaled, None, None
