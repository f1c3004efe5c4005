"""Which entries rank above which over many conditions (Demšar, Statistical Comparisons of Classifiers over Multiple
Data Sets, JMLR 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.bench.board import Board
from polymodal.bench.figures import is_area, main_figures


@dataclass(frozen=True)
class Ranking:
    """Average ranks of entries over blocks; a block is one condition of one corpus.

    Conditions of one corpus share samples and weights, so blocks are not independent as the test assumes: the critical
    difference is optimistic (too small), and what it calls different may not be.

    Attributes:
        names: entries by average rank, best first.
        ranks: their average ranks, 1 is best.
        blocks: how many conditions were counted.
        corpora: where those come from.
        p: of the Friedman test, that all entries are equally good; NaN for fewer than three entries or two blocks.
        difference: Nemenyi's critical difference at 5%; NaN where ``names`` has fewer than two.
        groups: longest runs of entries whose average ranks differ by no more than that, as places in ``names``, both
            ends inside.
        unranked: entries that lack a figure in at least one block.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    blocks: int
    corpora: tuple[str, ...]
    p: float
    difference: float
    groups: tuple[tuple[int, int], ...]
    unranked: tuple[str, ...]


def rank_entries(board: Board, corpora: Sequence[str] | None = None) -> Ranking:
    """Return the ranking by the main metric over every condition of ``corpora``, areas left out.

    Only entries with a figure in every block are ranked: an average over other blocks cannot be compared. A block in
    which nobody has a figure does not count.

    Args:
        board: the benchmark.
        corpora: names; None for all.
    """
    chosen = tuple(c.name for c in board.corpora) if corpora is None else tuple(corpora)
    names = [e.name for e in board.entries]
    rows = [
        [_loss(found[n].mean, found[n].higher_is_better) if n in found else math.nan for n in names]
        for corpus in chosen
        for key, found in main_figures(board, corpus).items()
        if not is_area(key)
    ]
    losses = np.array(rows, float).reshape(len(rows), len(names))
    losses = losses[np.isfinite(losses).any(axis=1)]
    whole = np.isfinite(losses).all(axis=0) & (len(losses) > 0)
    return _ranking(losses[:, whole], [n for n, w in zip(names, whole, strict=True) if w], chosen, names)


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
    difference = critical_difference(count, blocks) if count > 1 else math.nan
    return Ranking(
        names=tuple(ranked[i] for i in order),
        ranks=sorted_ranks,
        blocks=blocks,
        corpora=corpora,
        p=friedman(losses),
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
