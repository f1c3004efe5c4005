"""Products of matrices on a CPU through oneDNN.

torch multiplies float32 matrices with MKL, which keeps to AVX2 on processors that are not Intel's. oneDNN, which torch
carries for other purposes, uses what the processor has: on an AMD EPYC with AVX-512 it takes half the time, forward and
backward. The result is the same but for the order of summation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAYS = 2**20
"""Multiplications from which oneDNN's preparation is worth while."""


def suits(x: Tensor, multiplications: int) -> bool:
    """Whether oneDNN can and should do a product of ``x``: float32 on a CPU, outside autocast, large enough."""
    return (
        multiplications >= PAYS
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and _AVAILABLE
    )


def product(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x @ y.T`` for two matrices that ``suits``; no gradient."""
    return _multiply(x, y, None)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``."""
    if weight.dtype == x.dtype and suits(x, x.numel() * len(weight)):
        out: Tensor = _Linear.apply(x, weight, bias)
        return out
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """``nn.Linear``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the output."""
        return linear(input, self.weight, self.bias)


def speed_up(module: nn.Module) -> None:
    """Let every plain ``nn.Linear`` inside ``module`` work as ``Linear`` does; parameters and names stay."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = product(rows, weight.t()).view(x.shape) if wants_x else None
        grad_weight = product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if wants_weight else None
        return grad_x, grad_weight, rows.sum(0) if wants_bias else None


def _multiply(x: Tensor, y: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(y), bias, "none", [], "")
    return out


def _dense(x: Tensor) -> Tensor:
    """Return ``x``, copied if it is a part of a wider matrix: for those oneDNN falls back to a plain loop."""
    return x if x.is_contiguous() or x.t().is_contiguous() else x.contiguous()


_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
