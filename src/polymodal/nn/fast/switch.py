"""Fast or slow: the switch, and second gradients."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polymodal.core import OptionError

Work = Callable[..., Tensor]


def enabled(gains: bool = True) -> bool:
    """Whether a kernel runs: as ``POLYMODAL_FAST`` says, and where it says nothing, if the kernel ``gains`` here.

    What decides must not change between two processes of a machine, or a resumed run would not be the same run: no
    kernel is timed to decide.

    Raises:
        OptionError: it is neither 0 nor 1.
    """
    wanted = os.environ.get("POLYMODAL_FAST") or str(int(gains))
    if wanted not in ("0", "1"):
        raise OptionError(f"POLYMODAL_FAST must be 0 or 1 or unset, got {wanted!r}")
    return wanted == "1"


def run(fast: Work, slow: Work, *inputs: Tensor) -> Tensor:
    """Return ``fast(*inputs)``, or ``slow(*inputs)`` where kernels are switched off: one function of the inputs.

    Its gradient is that of ``fast``, unless it is itself to be differentiated (``create_graph=True``): then it is that
    of ``slow``.
    """
    if not enabled():
        return slow(*inputs)
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs)):
        return fast(*inputs)
    slopes: list[Tensor] = []
    out = fast(*_Gate.apply(slow, slopes, *inputs))
    out.register_hook(lambda slope: slopes.append(slope) if torch.is_grad_enabled() else None)
    return out


class _Gate(torch.autograd.Function):
    """The inputs. On the way back it lets the gradients of ``fast`` pass, or puts those of ``slow`` in their place."""

    @staticmethod
    def forward(ctx: Any, slow: Work, slopes: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.slow, ctx.slopes = slow, slopes
        ctx.save_for_backward(*inputs)
        outputs = tuple(x.view_as(x) for x in inputs)
        ctx.mark_non_differentiable(*(y for x, y in zip(inputs, outputs, strict=True) if not x.requires_grad))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if not ctx.slopes:
            return None, None, *grads
        # Other names for the inputs, since one may have been made from another.
        leaves = [x.view_as(x) for x in ctx.saved_tensors]
        wanted = [x for x in leaves if x.requires_grad]
        out = ctx.slow(*leaves)
        found = iter(torch.autograd.grad(out, wanted, ctx.slopes.pop().to(out.dtype), create_graph=True))
        return None, None, *(next(found) if x.requires_grad else None for x in leaves)
