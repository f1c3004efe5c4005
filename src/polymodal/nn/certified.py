"""A linear head of several vectors that can prove how far they may move before it says something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["orthogonal", "rows", "none"]

FLOOR = 1e-5
"""Within the logarithm of the margin loss."""


class CertifiedHead(nn.Module):
    """Logits of classes as a weighted sum of what each modality says: ``h = sum_m a_m * (W~_m z_m) + b``, per class.

    Everything is computed in float32, also under mixed precision: a proof does not survive rounding.

    Args:
        widths: of the vectors.
        classes: number of classes.
        weight: of every modality and class at first (a).
        norm: what W~ is: with ``orthogonal`` rows of length 1, which needs vectors wider than the classes; ``rows`` of
            length 1 and mean 0; ``none``, W itself.

    Attributes:
        slopes: ``(modalities, classes)``, steepest slopes of the scores where somebody measured them; only training
            needs them.
    """

    slopes: Tensor

    def __init__(self, widths: Sequence[int], classes: int, weight: float = 0.1, norm: Norm = "orthogonal") -> None:
        super().__init__()
        self.norm: Norm = norm
        self.directions = nn.ParameterList(nn.Linear(w, classes, bias=False).weight for w in widths)
        self.weights = nn.Parameter(torch.full((len(widths), classes), weight))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.register_buffer("slopes", torch.ones(len(widths), classes), persistent=False)

    def rows(self) -> list[Tensor]:
        """Return W~ ``(classes, width)`` of each modality."""
        with torch.autocast(self.bias.device.type, enabled=False):
            if self.norm == "none":
                return list(self.directions)
            centred = [w - w.mean(dim=1, keepdim=True) for w in self.directions]
            return [orthonormal(w) if self.norm == "orthogonal" else F.normalize(w, dim=1) for w in centred]

    def settle(self) -> None:
        """Put W~ in the place of W, for good: what the head says stays, and nothing is computed of its weights."""
        self.directions, self.norm = nn.ParameterList(self.rows()), "none"

    def scores(self, vectors: Iterable[Tensor]) -> Tensor:
        """Return what each modality says: vectors ``(batch, width)`` -> ``(batch, modalities, classes)``."""
        with torch.autocast(self.bias.device.type, enabled=False):
            return torch.stack([z.float() @ w.T for z, w in zip(vectors, self.rows(), strict=True)], dim=1)

    def forward(self, scores: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of scores."""
        with torch.autocast(self.bias.device.type, enabled=False):
            return (self.weights * scores).sum(dim=1) + self.bias

    def radius(self, scores: Tensor, present: Tensor, slopes: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the least over rivals k of ``(h_j - h_k) / |sum over m of (|a_j| tau_j + |a_k| tau_k)^2|^(1/2)``.

        If no score of class c of modality m grows faster than ``slopes[m, c]`` with what is moved, then nothing shorter
        than this, over all modalities together, makes a rival overtake class j.

        Args:
            scores: ``(batch, modalities, classes)``.
            present: ``(batch, modalities)`` bool; what is absent does not move.
            slopes: tau, ``(modalities, classes)``.
            label: ``(batch,)`` class j; None for the likeliest. Below zero where a rival is ahead.

        Returns:
            ``(batch,)``, 0 where no modality is there.
        """
        logits = self(scores)
        label = logits.argmax(dim=1) if label is None else label
        steep = self.weights.abs() * slopes
        both = steep.T[label].unsqueeze(2) + steep  # (batch, modalities, classes)
        reach = (both.square() * present.unsqueeze(2)).sum(dim=1).clamp(min=1e-12).sqrt()
        radius = (logits.gather(1, label[:, None]) - logits) / reach
        own = F.one_hot(label, logits.shape[1]).bool()
        return radius.masked_fill(own, torch.inf).amin(dim=1).where(present.any(dim=1), radius.new_zeros(()))

    def certificate(self, scores: Tensor, present: Tensor) -> Tensor:
        """Return how far the vectors may move together, in the sense of ``radius``, before the likeliest class can
        change: proven, as a score is linear and grows with its vector as fast as its row is long."""
        lengths = torch.stack([torch.linalg.vector_norm(w, dim=1) for w in self.rows()])
        return self.radius(scores, present, lengths)


def margin_loss(scores: Tensor, present: Tensor, label: Tensor) -> Tensor:
    """Return ``log(sum over modalities and rivals k of exp(h_k - h_label) + 1e-5)`` of every sample: ``(batch,)``.

    The smallest margin of a single modality decides it. What is absent has no margin.

    Args:
        scores: ``(batch, modalities, classes)``.
        present: ``(batch, modalities)`` bool.
        label: ``(batch,)``, class numbers.
    """
    index = label.view(-1, 1, 1).expand(-1, scores.shape[1], 1)
    gaps = scores - scores.gather(2, index)
    out = F.one_hot(label, scores.shape[2]).bool().unsqueeze(1) | ~present.unsqueeze(2)
    gaps = gaps.masked_fill(out, -torch.inf).flatten(1)
    return torch.cat([gaps, gaps.new_full((len(gaps), 1), FLOOR).log()], dim=1).logsumexp(dim=1)


def orthonormal(w: Tensor) -> Tensor:
    """Return ``(w w^T)^(-1/2) w``: the orthonormal rows that are nearest to those of ``w`` (rows, width)."""
    root: Tensor = _InverseRoot.apply(w @ w.T)
    return root @ w


class _InverseRoot(torch.autograd.Function):
    """``S^(-1/2)`` of a symmetric positive matrix. Torch's own gradient of its parts is infinite where two eigenvalues
    are equal; that of the whole is not (Daleckii & Krein)."""

    @staticmethod
    def forward(ctx: Any, s: Tensor) -> Tensor:
        values, basis = torch.linalg.eigh(s)
        root = values.clamp(min=values[-1] * 1e-7).sqrt()
        ctx.save_for_backward(root, basis)
        return (basis / root) @ basis.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        root, basis = ctx.saved_tensors
        inner = basis.T @ (grad + grad.T) @ basis / 2
        product = root[:, None] * root
        divided: Tensor = -inner / (product * (root[:, None] + root))
        return basis @ divided @ basis.T
