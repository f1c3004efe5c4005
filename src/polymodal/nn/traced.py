"""What a graph needs that is made once and then holds for any number of samples and steps, as ONNX wants it.

Sizes follow from sizes there, never from values, and a loop over time is one node of the graph. Everywhere else the
plain ways are faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

State = tuple[Tensor, ...]
Step = Callable[[State, State], tuple[State, State]]

_TRACED = ContextVar("traced", default=False)


@contextmanager
def tracing() -> Iterator[None]:
    """Let ``traced`` say yes for the duration of the block."""
    token = _TRACED.set(True)
    try:
        yield
    finally:
        _TRACED.reset(token)


def traced() -> bool:
    """Whether a graph is being made."""
    return _TRACED.get()


def longest(lengths: Tensor, sizes: Sequence[int], most: int) -> int:
    """Return the greatest of ``lengths`` (batch,), at least 1: the steps that a tensor of them needs.

    Args:
        lengths: at most ``most``.
        sizes: steps of the tensors that they come from; the greatest of those bounds them where values cannot be read.
        most: no tensor needs more.
    """
    if not traced():
        return max(1, int(lengths.max()))
    bound = sizes[0]
    for size in sizes[1:]:
        bound = torch.sym_max(bound, size)
    return torch.sym_min(bound, most)


def highest_first(scores: Tensor) -> Tensor:
    """Return the columns of ``scores`` (batch, columns) from the highest to the lowest, the earlier of equals first."""
    if traced():  # the stable sort cannot be written; that of ONNX is stable
        return scores.sort(dim=1, descending=True).indices
    return scores.argsort(dim=1, descending=True, stable=True)


def over_time(step: Step, start: State, inputs: State) -> State:
    """Carry a state over time.

    Args:
        step: state and inputs of one step -> the next state, what is kept of the step.
        start: the first state.
        inputs: each ``(time, ...)``.

    Returns:
        what was kept, each ``(time, ...)``.
    """
    if traced():
        from torch._higher_order_ops.scan import scan

        # What is kept must not share memory with the state there.
        kept: State = scan(lambda *now: _apart(*step(*now)), start, inputs)[1]
        return kept
    state, steps = start, []
    for now in zip(*(x.unbind(0) for x in inputs), strict=True):
        state, found = step(state, now)
        steps.append(found)
    return tuple(torch.stack(column) for column in zip(*steps, strict=True))


def _apart(state: State, kept: State) -> tuple[State, State]:
    return state, tuple(1.0 * x for x in kept)  # a clone would be taken away as doing nothing
