"""How well a column can be told from vectors: what a probe reads in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polymodal.audit._asked import rate
from polymodal.core import numpy_rng
from polymodal.data.ragged import Array
from polymodal.score.statistics import Statistic

FOLDS, MOST = 5, 2000
"""Folds, groups whole; and samples at most, for the work grows with their square."""


def told(vectors: Sequence[Array], values: Array, groups: Array) -> Array | None:
    """Return how often probes name the value of each sample, ``(samples,)`` in [0, 1], NaN where not asked.

    A support vector machine with a Gaussian kernel learns the values from four fifths of the groups and names them in
    the fifth, for each of ``vectors`` on its own; the mean is over these.

    Args:
        vectors: each ``(samples, width)``.
        values: ``(samples,)``.
        groups: ``(samples,)``; none is learned from and asked about.

    Returns:
        None where some value has a single group.
    """
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rows = np.arange(len(values))
    if len(rows) > MOST:
        rows = np.sort(numpy_rng("probe", len(rows)).permutation(rows)[:MOST])
    folds = min(FOLDS, *(len(np.unique(groups[rows][values[rows] == v])) for v in np.unique(values)))
    if folds < 2:
        return None
    right = np.full(len(values), np.nan)
    right[rows] = 0.0
    parts = list(StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(rows, values[rows], groups[rows]))
    for x in vectors:
        for known, asked in parts:
            if len(np.unique(values[rows[known]])) < 2:
                return None
            probe = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
            probe.fit(x[rows[known]], values[rows[known]])
            right[rows[asked]] += (probe.predict(x[rows[asked]]) == values[rows[asked]]) / len(vectors)
    return right


def balanced(right: Array, values: Array) -> Statistic:
    """Return the mean over values of how often they are named, from what ``told`` returned."""
    asked = ~np.isnan(right)
    rates = [rate(np.nan_to_num(right), asked & (values == v)) for v in np.unique(values)]
    return lambda times: np.mean([r(times) for r in rates], axis=0)
