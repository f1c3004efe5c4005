"""How far a training has come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

GRADIENTS = "gradients"
"""Under this name ``Sums`` holds, instead of the losses of an update, modality -> size of its encoder's gradient."""


@dataclass
class Progressed:
    """How far training of one seed has come: all that a checkpoint holds beside tensors.

    ``phase_epoch``, ``step``, ``best`` and what follows are those of the phase; ``batch``, ``sums`` (update -> loss ->
    sum over samples) and ``counts`` (update -> samples; ``GRADIENTS`` is one too) those of the epoch.
    """

    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    step: int = 0
    batch: int = 0
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: float = math.inf
    best_epoch: int = 0
    stale: int = 0
    plateau: float = 1.0


class Sums:
    """Losses of an epoch, summed on the device: reading one makes a GPU be waited for, so it happens at the end.

    Args:
        at: what was summed before a training was stopped.
        device: of the losses.
    """

    def __init__(self, at: Progressed, device: torch.device) -> None:
        self.counts = dict(at.counts)
        self._sums = {u: {n: torch.tensor(v, device=device) for n, v in named.items()} for u, named in at.sums.items()}

    def add(self, update: str, losses: dict[str, Tensor], count: int) -> None:
        """Add the mean losses of ``count`` samples."""
        sums = self._sums.setdefault(update, {})
        for name, loss in losses.items():
            # In float32 whatever the loss is in, as it is taken up again from a checkpoint.
            sums[name] = sums.get(name, torch.zeros((), device=loss.device)) + (loss * count).float()
        self.counts[update] = self.counts.get(update, 0) + count

    def read(self) -> dict[str, dict[str, float]]:
        """Return the sums as numbers: update -> loss -> sum."""
        return {u: {n: float(s) for n, s in named.items()} for u, named in self._sums.items()}

    def means(self) -> dict[str, float]:
        """Return the mean over samples of every loss, those of a named update as ``update/loss``."""
        return {
            f"{update}/{name}" if update else name: value / max(1, self.counts[update])
            for update, named in self.read().items()
            if update != GRADIENTS
            for name, value in named.items()
        }

    def gradients(self) -> dict[str, float]:
        """Return modality -> mean over steps of the size of its encoder's gradient; empty where it was not noted."""
        sums, steps = self.read().get(GRADIENTS, {}), self.counts.get(GRADIENTS, 1)
        return {name: value / steps for name, value in sums.items()}
