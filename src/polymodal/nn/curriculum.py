"""What is fed next: pairs in order of difficulty, and a level that follows the loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Feed = Literal["cumulative", "single"]
Rule = Literal["success", "failure"]


def easiest(difficulty: Tensor, level: Tensor | int, levels: int, discard: float, feed: Feed = "cumulative") -> Tensor:
    """Return which candidates are fed, ``(n,)`` bool.

    The hardest share ``discard`` is thrown away, the rest cut by rank into ``levels`` parts of equal size.

    Args:
        difficulty: ``(n,)``.
        level: from 1 to ``levels``.
        levels: number of parts.
        discard: in [0, 1).
        feed: ``cumulative`` for all parts up to ``level``, ``single`` for that one alone.
    """
    count = len(difficulty)
    kept = round((1 - discard) * count)
    rank = torch.empty_like(difficulty, dtype=torch.long)
    rank[difficulty.argsort(stable=True)] = torch.arange(count, device=difficulty.device)
    part = rank * levels // max(1, kept) + 1
    return (rank < kept) & (part <= level if feed == "cumulative" else part == level)


class Feeding(nn.Module):
    """Which level of difficulty is fed: back, stay or forward, by what the loss did.

    At the end of a window the mean loss is compared with that of the window before. A fall by more than ``tolerance``
    is success: one level forward. A rise by more is failure: one level back. With ``rule`` ``failure`` the two change
    places. Nothing of this is among the weights; a resumed training goes on with it.

    Args:
        levels: highest level; the lowest is 1.
        tolerance: change of the mean loss that means nothing.
        rule: what leads forward.

    Buffers:
        level: scalar, long.
        before: mean loss of the last window, NaN where there is none.
        total, count: sum and number of losses in this window.
    """

    level: Tensor
    before: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, levels: int, tolerance: float, rule: Rule) -> None:
        super().__init__()
        self.levels, self.tolerance, self.sign = levels, tolerance, 1 if rule == "success" else -1
        self.register_buffer("level", torch.tensor(1), persistent=False)
        self.register_buffer("before", torch.tensor(torch.nan), persistent=False)
        self.register_buffer("total", torch.tensor(0.0), persistent=False)
        self.register_buffer("count", torch.tensor(0), persistent=False)

    def note(self, loss: Tensor) -> None:
        """Add a step's loss to the window."""
        self.total += loss.detach().float()
        self.count += 1

    def decide(self) -> None:
        """End the window, where it holds a loss, and move."""
        if not self.count:
            return
        mean = self.total / self.count
        change = self.before - mean
        # Compared with NaN nothing is greater: the first window stays.
        step = (change > self.tolerance).long() - (change < -self.tolerance).long()
        self.level = (self.level + self.sign * step).clamp(1, self.levels)
        self.before = mean
        self.total, self.count = torch.zeros_like(self.total), torch.zeros_like(self.count)

    def restart(self) -> None:
        """Begin at level 1 without a past."""
        self.level, self.before = torch.ones_like(self.level), torch.full_like(self.before, torch.nan)
        self.total, self.count = torch.zeros_like(self.total), torch.zeros_like(self.count)
