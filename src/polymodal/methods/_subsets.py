"""One method on several subsets of the modalities of the same samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from math import factorial

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output
from polymodal.methods.base import Method, Seamed


def all_subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the 2^M subsets of ``names``, smallest first, the empty one included."""
    return [kept for size in range(len(names) + 1) for kept in combinations(names, size)]


def on_subsets(method: Method, batch: Batch, subsets: Sequence[Collection[str]]) -> Iterator[Output]:
    """Yield what ``method`` makes of ``batch`` with nothing but each of ``subsets``.

    A method with a seam encodes once and fuses once for each subset; any other passes through once for each.
    """
    names = tuple(batch.streams)
    if not isinstance(method, Seamed):
        for kept in subsets:
            yield method(batch.without(*(n for n in names if n not in kept)))
        return
    vectors, present = method.encode(batch), batch.present
    for kept in subsets:
        there = torch.tensor([n in kept for n in names], device=present.device)
        # torch.where, not multiplication: NaN * 0 would leak NaN.
        chosen = {n: v if n in kept else torch.zeros_like(v) for n, v in vectors.items()}
        yield method.fuse(chosen, present & there)


def shapley(values: dict[tuple[str, ...], Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the Shapley value of each modality, plus an equal share of what is said of nothing: they sum to f(all).

    Args:
        values: f(S) for each of ``all_subsets(names)``, any shape.
        names: the modalities.
    """
    count = len(names)
    out = {}
    for name in names:
        value = values[()] / count
        for kept in values:
            if name not in kept:
                weight = factorial(len(kept)) * factorial(count - len(kept) - 1) / factorial(count)
                value = value + weight * (values[tuple(n for n in names if n in (*kept, name))] - values[kept])
        out[name] = value
    return out


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into evaluation mode for a while, then each of its parts back into the mode it was in.

    Recurrent layers stay as they are: those here have no dropout of their own, and on a GPU they know the way back to
    their gradient in training mode only.
    """
    modes = [(part, part.training) for part in module.modules() if not isinstance(part, nn.RNNBase)]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
