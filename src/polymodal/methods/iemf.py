"""IEMF: the fusion learns faster while the single modalities say little, and slower once they say much."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods._seam import SeamedWrapper
from polymodal.methods._wrapper import task_names
from polymodal.methods.base import Seamed, positive
from polymodal.nn.gradient import scale_gradient
from polymodal.nn.heads import scaled_losses
from polymodal.nn.masking import mean_where
from polymodal.nn.unimodal import UnimodalHeads


class IEMF(SeamedWrapper):
    """Inverse Effectiveness driven Multimodal Fusion (He et al., 2025, arXiv 2505.10176), around any method with a
    seam.

    Every modality's vector gets a linear head of its own, which learns the task beside the fused prediction. With S the
    mean probability of the true class, of the heads m and of the fused prediction,

        r = mean_m S_m / S_fused,  kappa = xi (1 + tanh(1 - r)),  g <- kappa g + e,  e ~ N(0, std(g)^2),

    once per batch, for the gradient g of every parameter that takes part in the fusing. Encoders and heads learn as
    without it, and predictions are the base's.

    Departures: all parameters behind the seam are modulated, not an output layer alone. S is the mean of exp(-loss),
    which is the probability for one of several classes, its geometric mean over labels and targets, and for a number
    on a scale from -3 to 3 the exponential of minus its absolute error. Scores leave out samples that lack the modality
    or the label. kappa stays above 1e-6. Phases and updates of the base without a task loss are left as they are.

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        xi: the inverse coefficient, above 0.
        uni: how much of the heads' gradient reaches the encoders, 0 or more; 0 modulates alone.
        modulate: multiply by kappa and add noise; without, the losses of the heads are all there is.
        noise: add e, which the paper's code always does.
        starts: first epoch of each phase, counted from 0, with modulation.
        ends: last such epoch; -1 for no end.
    """

    family = "around any method"
    paper = (
        "He, Zhao, Li, Kong, Yang & Zeng, Incorporating brain-inspired mechanisms for multimodal learning in "
        "artificial intelligence, 2025, arXiv:2505.10176"
    )
    modality_counts = (2, 99)

    kappa: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "late-fusion",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        xi: float = 1.0,
        uni: float = 1.0,
        modulate: bool = True,
        noise: bool = True,
        starts: int = 0,
        ends: int = -1,
    ) -> None:
        super().__init__(schema, base, base_options)
        positive(xi=xi)
        if uni < 0:
            raise OptionError(f"uni must not be negative, got {uni}")
        self.xi, self.uni, self.modulate, self.noise, self.starts, self.ends = xi, uni, modulate, noise, starts, ends
        self.unimodal = UnimodalHeads(schema, schema.names, self.widths)
        # Read when gradients arrive, when the losses have measured it.
        self.register_buffer("kappa", torch.ones(()), persistent=False)

    def fused(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return what the base makes of the vectors; in training, by parameters whose gradients are modulated."""
        late = self.now.epoch < self.starts or 0 <= self.ends < self.now.epoch
        if not self.training or not self.modulate or late:
            return super().fused(vectors, present)
        gated = {
            f"base.{n}": scale_gradient(p, self.kappa, noise=self.noise)
            for n, p in self.base.named_parameters()
            if p.requires_grad
        }
        output: Output = functional_call(_Fusing(self.base), gated, (vectors, present))
        return output

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses and, in training, ``unimodal``: those of the heads, summed."""
        losses = super().losses(batch, output)
        if not self.training or not task_names(losses):
            return losses
        vectors = self.vectors(output)
        self.kappa.fill_(self._factor(batch, output, vectors))
        own = [self.unimodal.loss(batch, n, scale_gradient(v, self.uni)) for n, v in vectors.items()]
        return losses | {"unimodal": torch.stack(own).sum()}

    @torch.no_grad()
    def _factor(self, batch: Batch, output: Output, vectors: dict[str, Tensor]) -> Tensor:
        """Return kappa of this batch, a scalar."""
        found = [self._score(batch, self.unimodal[n](v), batch[n].present) for n, v in vectors.items()]
        own, there = (torch.stack(parts) for parts in zip(*found, strict=True))
        fused, _ = self._score(batch, output.predictions, torch.ones_like(batch.present[:, 0]))
        return inverse_effectiveness(mean_where(own, there) / fused.clamp(min=1e-8), self.xi)

    def _score(self, batch: Batch, predictions: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return S over ``rows`` with a label, and whether there is one, both scalars."""
        losses, known = scaled_losses(self.schema.joint_targets, predictions, batch)
        return mean_where(torch.exp(-losses), known & rows), (known & rows).any()


class _Fusing(nn.Module):
    """The second half of a method, as a module that can be called with other parameters."""

    def __init__(self, base: Seamed) -> None:
        super().__init__()
        self.base = base

    def forward(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        return self.base.fuse(vectors, present)


def inverse_effectiveness(r: Tensor, xi: float = 1.0) -> Tensor:
    """Return kappa = xi (1 + tanh(1 - r)), at least 1e-6."""
    return (xi * (1 + torch.tanh(1 - r))).clamp(min=1e-6)
