"""Which entries rank above which over many conditions (Demšar, Statistical Comparisons of Classifiers over Multiple
Data Sets, JMLR 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from polymodal.bench.board import Board
from polymodal.bench.figures import headline, main_figures
from polymodal.stress import Prior

ENOUGH = 10
"""Corpora below which ranks are shown without a test."""


@dataclass(frozen=True)
class Ranking:
    """Average ranks of entries over corpora.

    A corpus counts once, by what its entries are ordered by: its conditions share samples and weights, and are no more
    independent of each other than the test could allow. Below ``ENOUGH`` corpora nothing is tested.

    Attributes:
        names: entries by average rank, best first.
        ranks: their average ranks, 1 is best.
        corpora: that were counted.
        p: of the Friedman test, that all entries are equally good; NaN for fewer than three entries or ``ENOUGH``
            corpora.
        difference: Nemenyi's critical difference at 5%; NaN for fewer than two entries or ``ENOUGH`` corpora.
        groups: longest runs of entries whose average ranks differ by no more than that, as places in ``names``, both
            ends inside.
        unranked: entries that lack a figure on at least one corpus.
        prior: what the trainings of all that are ranked knew of absence; None where that differs.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    corpora: tuple[str, ...]
    p: float
    difference: float
    groups: tuple[tuple[int, int], ...]
    unranked: tuple[str, ...]
    prior: Prior | None = None


def rankings(board: Board) -> list[Ranking]:
    """Return one ranking of all entries; under a protocol one for each prior: who was told is no match for others."""
    if not board.protocol:
        return [rank_entries(board)]
    priors: list[Prior] = ["none", "own", "told"]
    return [rank_entries(board, prior=p) for p in priors if any(e.prior == p for e in board.entries)]


def rank_entries(board: Board, corpora: Sequence[str] | None = None, prior: Prior | None = None) -> Ranking:
    """Return the ranking by the headline (the area under the first curve, else complete input) of ``corpora``.

    Only entries with a figure on every corpus are ranked: an average over others cannot be compared. A corpus on which
    nobody has a figure does not count.

    Args:
        board: the benchmark.
        corpora: names; None for all.
        prior: of the entries that are ranked; None for all.
    """
    chosen = tuple(c.name for c in board.corpora) if corpora is None else tuple(corpora)
    names = [e.name for e in board.entries if prior in (None, e.prior)]
    tops = [main_figures(board, corpus).get(headline(board, corpus), {}) for corpus in chosen]
    rows = [
        [_loss(found[n].mean, found[n].higher_is_better) if n in found else math.nan for n in names] for found in tops
    ]
    losses = np.array(rows, float).reshape(len(rows), len(names))
    known = np.isfinite(losses).any(axis=1)
    losses, counted = losses[known], tuple(c for c, k in zip(chosen, known, strict=True) if k)
    whole = np.isfinite(losses).all(axis=0) & (len(losses) > 0)
    ranked = [n for n, w in zip(names, whole, strict=True) if w]
    return replace(_ranking(losses[:, whole], ranked, counted, names), prior=prior)


def _loss(mean: float, higher_is_better: bool) -> float:
    return -mean if higher_is_better else mean


def _ranking(
    losses: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ranked: list[str],
    corpora: tuple[str, ...],
    names: Sequence[str],
) -> Ranking:
    from scipy.stats import rankdata

    blocks, count = losses.shape
    average = rankdata(losses, axis=1).mean(axis=0) if count else np.empty(0)
    order = np.argsort(average, kind="stable")
    sorted_ranks = tuple(float(average[i]) for i in order)
    enough = blocks >= ENOUGH
    difference = critical_difference(count, blocks) if count > 1 and enough else math.nan
    return Ranking(
        names=tuple(ranked[i] for i in order),
        ranks=sorted_ranks,
        corpora=corpora,
        p=friedman(losses) if enough else math.nan,
        difference=difference,
        groups=alike(sorted_ranks, difference),
        unranked=tuple(n for n in names if n not in ranked),
    )


def friedman(losses: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """Return the p-value of Friedman's test with the correction for ties.

    Args:
        losses: (blocks, entries), lower is better.

    Returns:
        NaN for fewer than three entries or two blocks; 1 where every block is one tie.
    """
    from scipy.stats import friedmanchisquare

    blocks, count = losses.shape
    if count < 3 or blocks < 2:
        return math.nan
    if (losses == losses[:, :1]).all():
        return 1.0  # the correction for ties divides by zero
    return float(friedmanchisquare(*losses.T).pvalue)


def critical_difference(entries: int, blocks: int, alpha: float = 0.05) -> float:
    """Return by how much two average ranks must differ at ``alpha`` (Nemenyi; Demšar 2006, section 3.2.2).

    q * sqrt(k (k + 1) / (6 N)) for k entries and N blocks, where q is the studentized range over sqrt(2).
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.isf(alpha, entries, math.inf)) / math.sqrt(2)
    return q * math.sqrt(entries * (entries + 1) / (6 * blocks))


def alike(ranks: Sequence[float], difference: float) -> tuple[tuple[int, int], ...]:
    """Return the longest runs (first, last) of rising ``ranks`` that span no more than ``difference``."""
    runs: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if i == first or ranks[i] - ranks[first] <= difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return tuple(runs)
