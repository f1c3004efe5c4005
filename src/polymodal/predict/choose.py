"""Which samples to label next: how unsure a run is, how far its modalities disagree, how new a sample is, how different
the chosen ones are. Arrays in, numbers of rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from polymodal.core import OptionError, nearest
from polymodal.data.ragged import Array

SCORES = ("uncertainty", "conflict", "distance")
WAYS = (*SCORES, "diverse", "mixed")

NEIGHBOURS = 5
"""Training samples whose mean distance says how new a sample is."""

WEIGHTS = {"uncertainty": 2.0, "conflict": 1.0, "distance": 1.0}
"""Of the ranks that ``mixed`` sums."""

SHORTLIST = 10
"""How many times as many samples as wanted ``mixed`` takes by score, before it chooses different ones among them."""

CHUNK = 1024


def entropy(chances: Array) -> Array:
    """Return (rows,) entropy from 0, sure, to 1, all classes alike.

    Args:
        chances: (rows, classes) that sum to one.
    """
    told = np.clip(chances, 1e-12, 1.0)
    found: Array = -(told * np.log(told)).sum(1) / np.log(max(2, chances.shape[1]))
    return np.clip(found, 0.0, 1.0)


def yes_or_no(chances: Array) -> Array:
    """Return (rows,) mean entropy of several classes (rows, classes) that are judged one by one, from 0 to 1."""
    parts = [entropy(np.stack([column, 1 - column], axis=1)) for column in chances.T]
    return np.asarray(np.mean(parts, axis=0))


def disagreement(said: Mapping[str, Array], present: Mapping[str, Array], scale: float) -> Array:
    """Return (rows,) how far what is said from single modalities lies apart: mean over pairs of those present.

    Args:
        said: modality -> (rows, outputs): values, or probabilities.
        present: modality -> (rows,) bool.
        scale: what a difference summed over outputs is divided by: the width of a range, or 2 for probabilities
            of one of several classes (total variation).

    Returns:
        0 where fewer than two modalities are there.
    """
    rows = len(next(iter(said.values())))
    total, pairs = np.zeros(rows), np.zeros(rows)
    for one, other in combinations(said, 2):
        both = present[one] & present[other]
        total += np.where(both, np.abs(said[one] - said[other]).sum(1) / scale, 0.0)
        pairs += both
    found: Array = total / np.maximum(pairs, 1)
    return found


def newness(features: Array, known: Array) -> Array:
    """Return (rows,) mean distance of each row of ``features`` to its ``NEIGHBOURS`` nearest rows of ``known``."""
    count = min(NEIGHBOURS, len(known))
    parts = []
    for start in range(0, len(features), CHUNK):
        apart = _distances(features[start : start + CHUNK], known)
        parts.append(np.partition(apart, count - 1, axis=1)[:, :count].mean(1))
    return np.concatenate(parts) if parts else np.zeros(0)


def spread(features: Array, count: int) -> list[int]:
    """Return ``count`` rows that differ and are typical: of as many clusters the rows nearest to their middles.

    Clusters are those of k-means, begun by k-means++; the largest one comes first.
    """
    from sklearn.cluster import KMeans

    count = min(count, len(features))
    if count == 0:
        return []
    distinct = len(np.unique(features, axis=0))
    found = KMeans(min(count, distinct), n_init=1, random_state=0).fit(features)
    apart = _distances(features, found.cluster_centers_)
    sizes = np.bincount(found.labels_)
    chosen = []
    for cluster in np.argsort(-sizes, kind="stable"):
        rows = np.flatnonzero(found.labels_ == cluster)
        chosen.append(int(rows[apart[rows, cluster].argmin()]))
    taken = set(chosen)
    return (chosen + [i for i in range(len(features)) if i not in taken])[:count]  # equal rows make too few clusters


def choose(by: str, scores: Mapping[str, Array], features: Array, count: int) -> list[int]:
    """Return the rows to label next, the most wanted first.

    ``mixed`` sums the ranks of all scores, each with its weight; of the ``SHORTLIST`` times as many that it puts first,
    those are taken that ``spread`` takes.

    Args:
        by: one of ``WAYS``.
        scores: some of ``SCORES`` -> (rows,).
        features: (rows, width), all of one scale.
        count: how many.

    Raises:
        OptionError: another way, or a score that is not there.
    """
    check_way(by)
    if by == "diverse":
        return spread(features, count)
    if by == "mixed":
        together = np.sum([WEIGHTS[name] * ranks(s) for name, s in scores.items()], axis=0)
        short = _first(together, SHORTLIST * count)
        return [short[i] for i in spread(features[short], count)]
    if by not in scores:
        raise OptionError(f"--by {by} cannot be told here; choose one of {', '.join([*scores, 'diverse', 'mixed'])}")
    return _first(scores[by], count)


def check_way(by: str) -> None:
    """Raise OptionError unless ``by`` is one of ``WAYS``."""
    if by not in WAYS:
        raise OptionError(f"there is no way {by!r} to choose{nearest(by, WAYS)}; one of {', '.join(WAYS)}")


def ranks(values: Array) -> Array:
    """Return (rows,) the share of rows that are lower, equal ones counting half; from 0 to 1."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / max(1, len(values)))


def _first(values: Array, count: int) -> list[int]:
    order: Sequence[int] = np.argsort(-values, kind="stable")[:count].tolist()
    return list(order)


def _distances(one: Array, other: Array) -> Array:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))
