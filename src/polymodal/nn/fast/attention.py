"""Scaled dot-product attention with dropout, on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.nn.fast.dropout import dropout, kept
from polymodal.nn.fast.switch import enabled, run

LEAST = 2**16
"""Attention weights per sample from which the kernel pays."""


def attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, p: float = 0.0) -> Tensor:
    """``F.scaled_dot_product_attention`` of several heads, with dropout on the attention weights.

    Second gradients with dropout on a GPU need torch's ``sdpa_kernel(SDPBackend.MATH)`` around it.

    Args:
        q: ``(batch, heads, time, width)``.
        k: ``(batch, heads, steps, width)``.
        v: the same shape.
        visible: ``(batch, time, steps)`` or ``(batch, 1, steps)`` bool, at least one step True for each query.
        p: share of the weights that become 0, below 1.

    Returns:
        ``(batch, heads, time, width)``.
    """
    if not p or q.device.type != "cpu":
        fused = partial(F.scaled_dot_product_attention, attn_mask=visible.unsqueeze(1), dropout_p=p)
        # On a GPU the twin would drop other weights.
        return fused(q, k, v) if p else run(fused, partial(plain, visible=visible), q, k, v)
    large = q.shape[1] * q.shape[2] * k.shape[2] >= LEAST
    if not large or q.dtype not in (torch.float32, torch.float64) or not enabled():
        return plain(q, k, v, visible, partial(dropout, p=p))
    dropped = round(p * 2**16)
    masks = [kept(q.new_empty(*q.shape[1:3], k.shape[2]), dropped) for _ in q]
    scale = 2**16 / (2**16 - dropped)
    again = partial(plain, visible=visible, drop=lambda weights: weights * torch.stack(masks) * scale)
    return run(lambda *inputs: _Dropped.apply(*inputs, visible, scale, *masks), again, q, k, v)


def plain(
    q: Tensor, k: Tensor, v: Tensor, visible: Tensor, drop: Callable[[Tensor], Tensor] = lambda weights: weights
) -> Tensor:
    """Attention by its formula; ``drop`` takes all weights and returns what is left of them."""
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~visible.unsqueeze(1), -torch.inf)
    return drop(scores.softmax(-1)) @ v


class _Dropped(torch.autograd.Function):
    """One sample is done after the other, so that its weights stay in the cache; they are made again for the gradient.

    torch has no fused kernel with dropout on a CPU and holds the weights of the whole batch, several times over.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scale: float, *masks: Tensor) -> Tensor:
        ctx.scale = scale
        ctx.save_for_backward(q, k, v, visible, *masks)
        # All results are made turned, (width, time): with few features per head that is a quarter of the time.
        out = _turned(q)
        for b, mask in enumerate(masks):
            weights = _weights(q[b], k[b], visible[b]).mul_(mask.to(q.dtype))
            torch.bmm(v[b].mT, weights.mT, out=out[b])
        return out.mul_(scale).mT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, visible, *masks = ctx.saved_tensors
        grad_q, grad_k, grad_v = _turned(q), _turned(k), _turned(v)
        grad = grad * ctx.scale
        for b, mask in enumerate(masks):
            weights, keep = _weights(q[b], k[b], visible[b]), mask.to(q.dtype)
            slope = torch.bmm(grad[b], v[b].mT).mul_(keep)
            slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype)
            torch.bmm(k[b].mT, slope.mT, out=grad_q[b])
            torch.bmm(q[b].mT, slope, out=grad_k[b])
            torch.bmm(grad[b].mT, weights.mul_(keep), out=grad_v[b])
        root = q.shape[-1] ** -0.5
        return grad_q.mul_(root).mT, grad_k.mul_(root).mT, grad_v.mT, *(None for _ in range(2 + len(masks)))


def _turned(x: Tensor) -> Tensor:
    """Return an empty ``(batch, heads, width, time)`` for ``x`` (batch, heads, time, width)."""
    return x.new_empty(*x.shape[:2], x.shape[3], x.shape[2])


def _weights(q: Tensor, k: Tensor, visible: Tensor) -> Tensor:
    """Return the attention weights of one sample: ``(heads, time, steps)``."""
    bias = torch.zeros(visible.shape, dtype=q.dtype).masked_fill_(~visible, -torch.inf)
    return torch.baddbmm(bias, q, k.mT, alpha=q.shape[-1] ** -0.5).softmax(-1)
