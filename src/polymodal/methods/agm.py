"""AGM: the gradient of each modality is slowed while that modality does better than it used to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods._subsets import all_subsets, evaluating, on_subsets, shapley
from polymodal.methods._wrapper import Wrapper
from polymodal.nn.gradient import scale_gradient
from polymodal.nn.heads import sample_losses
from polymodal.nn.masking import mean_where

WORST = 18.420680743952367
"""Highest score: -log of the lowest probability, 1e-8."""

Outputs = dict[str, dict[str, Tensor]]
"""Modality -> target -> predictions."""


class AGM(Wrapper):
    """Adaptive Gradient Modulation (Li et al., ICCV 2023, arXiv 2308.07686), around any method.

    The logits f(M) of the base are written as a sum over modalities of Shapley values of "modality left out",

        phi_m = sum_S |S|! (|M| - |S| - 1)! / |M|! (f(S + m) - f(S)) + f({}) / |M|,   sum_m phi_m = f(M),

    and only the gradient that flows back through each phi_m is multiplied by kappa_m. With s_m the mean loss of phi_m
    alone, rho_m = exp((mean_j s_j - s_m) K / (K - 1)) says how well m does among the K modalities, and

        kappa_m = exp(alpha min(rho_bar_m - rho_m, cap)),

    where rho_bar_m follows from the average of s_m over all steps before: a modality above its habit is slowed, one
    below it is sped up. Forward pass and loss are the base's. The full pass runs in training mode, those without some
    modality in evaluation mode, with gradients; a base with a seam encodes twice per step and fuses 2^K times, any
    other makes 2^K passes.

    Departures: a modality is left out as everywhere here (zeros and ``present``), not by zeros alone. The exponent for
    more than three modalities is that of the released code for two and three. Losses of the base on its
    representations are not modulated: only what flows through predictions is.

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        alpha: strength; 0 is plain training, the paper's examples lie between 0.5 and 3.
        starts: first epoch of each phase, counted from 0, in which gradients are modulated.
        ends: last such epoch; -1 for no end.
    """

    family = "around any method"
    paper = (
        "Li, Li, Hu, Lei, Li & Zhou, Boosting Multi-modal Model Performance with Adaptive Gradient Modulation, "
        "ICCV 2023, arXiv:2308.07686"
    )
    tasks = frozenset({"classification", "multilabel"})
    modality_counts = (2, 6)

    steps: Tensor
    scores: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "late-fusion",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        alpha: float = 1.0,
        starts: int = 0,
        ends: int = -1,
    ) -> None:
        super().__init__(schema, base, base_options)
        if alpha < 0:
            raise OptionError(f"alpha must not be negative, got {alpha}")
        self.alpha, self.starts, self.ends = alpha, starts, ends
        self.cap = 10.0 if len(schema.names) == 2 else 7.0
        # Only training looks at what the modalities used to score.
        self.register_buffer("steps", torch.zeros(()), persistent=False)
        self.register_buffer("scores", torch.zeros(len(schema.names)), persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return what the base returns; in training its predictions carry modulated gradients."""
        full = super().forward(batch)
        if not self.training or not torch.is_grad_enabled():
            return full
        parts = self.attributed(batch, full)
        factors = self._factors(batch, parts)
        predictions = {
            target: torch.stack([scale_gradient(parts[n][target], k) for n, k in zip(parts, factors, strict=True)]).sum(
                0
            )
            for target in full.predictions
        }
        return Output(predictions, full.representations)

    def attributed(self, batch: Batch, full: Output) -> Outputs:
        """Return phi: for each modality its share of the predictions ``full``; the shares sum to them."""
        names = self.schema.names
        subsets = all_subsets(names)[:-1]
        with evaluating(self.base):
            reduced = list(on_subsets(self.base, batch, subsets))
        phi: Outputs = {n: {} for n in names}
        for target, whole in full.predictions.items():
            values = {kept: out.predictions[target] for kept, out in zip(subsets, reduced, strict=True)}
            for name, value in shapley({**values, names: whole}, names).items():
                phi[name][target] = value
        return phi

    @torch.no_grad()
    def _factors(self, batch: Batch, phi: Outputs) -> Tensor:
        """Return kappa ``(modalities,)`` and add this step to the habit."""
        scores = torch.stack([self._score(batch, own) for own in phi.values()])
        habit = ratios(self.scores) if self.steps else ratios(scores)
        self.steps += 1
        self.scores += (scores - self.scores) / self.steps
        if self.now.epoch < self.starts or 0 <= self.ends < self.now.epoch:
            return torch.ones_like(scores)
        return modulation(ratios(scores), habit, self.alpha, self.cap)

    def _score(self, batch: Batch, own: dict[str, Tensor]) -> Tensor:
        terms = []
        for target in self.schema.joint_targets:
            losses, known = sample_losses(target, own[target.name], batch.targets[target.name])
            terms.append(mean_where(losses.clamp(max=WORST), known))
        return torch.stack(terms).mean()


def ratios(scores: Tensor) -> Tensor:
    """Return rho ``(modalities,)`` of mean losses s: exp((mean_j s_j - s_m) K / (K - 1)); larger is better."""
    count = len(scores)
    return torch.exp((scores.mean() - scores) * count / (count - 1))


def modulation(rho: Tensor, habit: Tensor, alpha: float, cap: float) -> Tensor:
    """Return kappa: exp(alpha min(habit - rho, cap))."""
    return torch.exp(alpha * (habit - rho).clamp(max=cap))
