"""What a plain classifier reads in one source or two, each sample by what was learned from other groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polymodal.core import numpy_rng
from polymodal.data.ragged import Array
from polymodal.score.intervals import Blocks

FOLDS, MARKS = 5, 300
"""Folds of whole groups, and samples that all others are compared with, which are drawn at random."""

SCALES, RIDGES = (0.5, 2.0), (0.1, 1.0, 10.0)
"""Widths of the kernel, of the median distance, and ridges; the pair of least error out of fold is taken."""


class Reader:
    """Two classifiers, of which the better one out of fold answers: a linear one, and a ridge over Gaussian kernels.

    The linear one is a discriminant analysis whose covariance is shrunk (OAS; Chen et al., IEEE Trans. Signal Process.
    2010). Of two sources the kernel is k1 + k2 + k1 k2, so that what either says alone is not lost in both, and what
    they say only together is there. All that does not depend on labels is done once.

    Args:
        sources: one or two, ``(samples, width)``.
        groups: ``(samples,)``; None where every sample is on its own.
    """

    def __init__(self, sources: Sequence[Array], groups: Array | None = None) -> None:
        self.sources = [np.asarray(x, float) for x in sources]
        self.member = Blocks.of(len(self.sources[0]), groups).member % FOLDS
        self._maps = [_Map(self.sources, self.member, scale) for scale in SCALES]

    def __call__(self, labels: Array) -> Array:
        """Return ``(samples, classes)``, near the probability of each class.

        Args:
            labels: ``(samples,)`` whole numbers from 0.
        """
        y = np.asarray(labels, np.int64)
        wanted = np.eye(y.max() + 1)[y]
        answers = [self._linear(wanted), *(a for m in self._maps for a in m(wanted))]
        return min(answers, key=lambda a: float(((a - wanted) ** 2).mean()))

    def _linear(self, wanted: Array) -> Array:
        from sklearn.covariance import oas

        x, found = np.concatenate(self.sources, axis=1), np.tile(wanted.mean(0), (len(wanted), 1))
        for out in _folds(self.member):
            known, y = x[~out], wanted[~out]
            count = y.sum(0)
            there = count > 0
            means = (y.T @ known)[there] / count[there, None]
            spread = oas(known - y[:, there] @ means, assume_centered=True)[0]
            weights = np.linalg.lstsq(spread, means.T, rcond=1e-9)[0]
            logits = x[out] @ weights - (means.T * weights).sum(0) / 2 + np.log(count[there])
            shares = np.exp(logits - logits.max(1, keepdims=True))
            found[np.ix_(out, ~there)] = 0
            found[np.ix_(out, there)] = shares / shares.sum(1, keepdims=True)
        return found


class _Map:
    """Samples as vectors whose products are a kernel (Nystroem), and what ridges over them need beside labels."""

    def __init__(self, sources: Sequence[Array], member: Array, scale: float) -> None:
        from scipy.linalg import cho_factor, solve_triangular

        count = len(member)
        marks = np.sort(numpy_rng("marks", count).permutation(count)[:MARKS])
        kernels = [_kernel(x, marks, scale) for x in sources]
        kernel = kernels[0] if len(kernels) == 1 else kernels[0] + kernels[1] + kernels[0] * kernels[1]
        root = np.linalg.cholesky(kernel[marks] + 1e-6 * np.eye(len(marks)))
        self.vectors = solve_triangular(root, kernel.T, lower=True).T
        self.folds = _folds(member)
        products, ones = self.vectors.T @ self.vectors, np.eye(len(marks))
        self.solvers = []
        for out in self.folds:
            known = products - self.vectors[out].T @ self.vectors[out]
            self.solvers.append([cho_factor(known + ridge * ones, check_finite=False) for ridge in RIDGES])

    def __call__(self, wanted: Array) -> list[Array]:
        """Return what each ridge answers, ``(samples, classes)``."""
        from scipy.linalg import cho_solve

        answers = [np.empty_like(wanted) for _ in RIDGES]
        for out, solvers in zip(self.folds, self.solvers, strict=True):
            centre = wanted[~out].mean(0)
            right = self.vectors[~out].T @ (wanted[~out] - centre)
            for answer, solver in zip(answers, solvers, strict=True):
                answer[out] = self.vectors[out] @ cho_solve(solver, right, check_finite=False) + centre
        return answers


def _folds(member: Array) -> list[Array]:
    """Return who is in each fold, ``(samples,)`` bool; none of a single group: there is nobody else to learn from."""
    folds = [member == fold for fold in np.unique(member)]
    return folds if len(folds) > 1 else []


def _kernel(x: Array, marks: Array, scale: float) -> Array:
    square = (x**2).sum(1)
    gaps = np.maximum(square[:, None] + square[marks] - 2 * x @ x[marks].T, 0)
    found: Array = np.exp(-gaps / (scale * np.median(gaps) or 1.0))
    return found
