"""Linear models on pooled features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, Output, Schema, Target
from polymodal.core.batch import known_labels
from polymodal.methods._pooled import pooled, pooled_width
from polymodal.methods.base import Phase, Seamed, View, positive
from polymodal.nn.heads import task_loss

RIDGE = tuple(10.0**k for k in range(-1, 7))
"""Penalties tried for a regression (scikit-learn's alpha)."""

INVERSE = tuple(10.0**k for k in range(-5, 3))
"""Inverse penalties tried for classes (scikit-learn's C)."""

Solution = tuple[np.ndarray, np.ndarray]


class Linear(Seamed):
    """Baseline: ridge regression (Hoerl & Kennard, Technometrics 1970) or logistic regression on pooled features.

    A sequence is its mean and standard deviation over true steps, a vector itself, a text its hashed words and word
    pairs (square roots of counts, length 1). Pictures are scaled down to 4 x 4 pixels, which makes a vector of an image
    and a sequence of frames. Features are standardised with the training split, those of a text with one common scale,
    so that rare words do not weigh most; an absent modality is then zero, its training mean.
    Regression is ridge, classification multinomial logistic, multilabel one logistic model per class; per target the
    penalty with the lowest validation loss is kept. Solved by scikit-learn in ``prepare``; nothing trains by gradient.

    Args:
        schema: what the batches hold.
        buckets: hash buckets of words; word pairs get as many again.
    """

    family = "baseline"
    paper = "baseline; Hoerl & Kennard, Ridge Regression, Technometrics 1970"

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, schema: Schema, *, buckets: int = 2048) -> None:
        super().__init__(schema)
        positive(buckets=buckets - 1)
        self.buckets = buckets
        self.widths = [pooled_width(m, buckets) for m in schema.modalities]
        features, outputs = sum(self.widths), sum(t.spec.width for t in schema.joint_targets)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("weight", torch.zeros(outputs, features))
        self.register_buffer("bias", torch.zeros(outputs))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return the standardised features of each modality."""
        x, there = self.pool(batch)
        parts = ((x - self.mean) / self.std * there).split(self.widths, dim=1)
        return dict(zip(self.schema.names, parts, strict=True))

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions and, as ``fused``, the vectors side by side."""
        x = torch.cat(list(vectors.values()), dim=1)
        y = x @ self.weight.T + self.bias
        targets = self.schema.joint_targets
        parts = y.split([t.spec.width for t in targets], dim=1)
        return Output({t.name: t.spec.prediction(part) for t, part in zip(targets, parts, strict=True)}, {"fused": x})

    def pool(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return raw features and whether their modality is present, both ``(batch, features)``."""
        x, there = pooled(batch, self.schema, self.buckets)
        return x.to(self.mean.device), there.to(self.mean.device)

    def prepare(self, view: View) -> None:
        """Fit statistics and weights on the training split, penalties on the validation split."""
        x, present, labels = self._collect(view.train())
        self._standardise(x, present)
        known = ((x - self.mean.cpu()) / self.std.cpu() * present).numpy()
        valid, there, truth = self._collect(view.valid())
        valid = (valid - self.mean.cpu()) / self.std.cpu() * there
        solutions = []
        for t in self.schema.joint_targets:
            rows = known_labels(labels[t.name]).numpy()
            solutions.append(best(t, _solver(t, known[rows], labels[t.name].numpy()[rows]), valid, truth[t.name]))
        self.weight.copy_(torch.from_numpy(np.concatenate([w for w, _ in solutions])))
        self.bias.copy_(torch.from_numpy(np.concatenate([b for _, b in solutions])))

    def _collect(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        rows = [(*self.pool(batch), batch.targets) for batch in batches]
        labels = {t.name: torch.cat([y[t.name] for *_, y in rows]).cpu() for t in self.schema.joint_targets}
        return torch.cat([x for x, *_ in rows]).cpu(), torch.cat([p for _, p, _ in rows]).cpu(), labels

    def _standardise(self, x: Tensor, present: Tensor) -> None:
        """Set the statistics of samples that have the modality; constant features keep a deviation of 1."""
        count = present.sum(0).clamp(min=1)
        mean = (x * present).sum(0) / count
        variance = ((x - mean) ** 2 * present).sum(0) / count
        start = 0
        for modality, width in zip(self.schema.modalities, self.widths, strict=True):
            if modality.kind == "text":
                variance[start : start + width] = variance[start : start + width].mean()
            start += width
        self.mean.copy_(mean)
        self.std.copy_(torch.where(variance > 1e-12, variance.sqrt(), 1.0))

    def phases(self) -> list[Phase]:
        """Nothing is left to train."""
        return []


def best(target: Target, solver: Callable[[float], Solution], x: Tensor, label: Tensor) -> Solution:
    """Return the solution with the lowest loss of the target's task on ``x`` (batch, features)."""

    def loss(solution: Solution) -> float:
        weight, bias = (torch.from_numpy(part).float() for part in solution)
        return float(task_loss(target, target.spec.prediction(x @ weight.T + bias), label))

    return min(map(solver, RIDGE if target.spec.answer == "number" else INVERSE), key=loss)


def _solver(target: Target, x: np.ndarray, label: np.ndarray) -> Callable[[float], Solution]:
    """Return the function penalty -> weight (outputs, features) and bias (outputs,)."""

    def one_by_one(penalty: float) -> Solution:
        pairs = [logistic(x, column.astype(int), 2, penalty) for column in label.T]
        return np.stack([w[1] - w[0] for w, _ in pairs]), np.array([b[1] - b[0] for _, b in pairs])

    solvers: dict[str, Callable[[float], Solution]] = {
        "number": lambda penalty: ridge(x, target.spec.ideal(label), penalty),
        "class": lambda penalty: logistic(x, label, len(target.classes), penalty),
        "classes": one_by_one,
    }
    return solvers[target.spec.answer]


def ridge(x: np.ndarray, label: np.ndarray, penalty: float) -> Solution:
    """Least squares with ``penalty`` on the squared weights, not on the bias."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty).fit(x, label)
    return model.coef_[None], np.array([model.intercept_])


def logistic(x: np.ndarray, label: np.ndarray, classes: int, inverse: float) -> Solution:
    """Multinomial logistic regression with logits for all ``classes``.

    A class without a training sample gets no weight and the lowest bias less log(samples + 1).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(label)
    weight, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
    if len(seen) > 1:
        model = LogisticRegression(C=inverse)
        with warnings.catch_warnings():
            # Weak penalties on separable data have no optimum nearby; validation decides whether the result is kept.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, label)
        # Two classes come as one row of log odds.
        two = len(seen) == 2
        weight[seen] = np.concatenate([-model.coef_, model.coef_]) / 2 if two else model.coef_
        bias[seen] = np.concatenate([-model.intercept_, model.intercept_]) / 2 if two else model.intercept_
    unseen = np.setdiff1d(np.arange(classes), seen)
    bias[unseen] = bias[seen].min() - np.log(len(label) + 1)
    return weight, bias
