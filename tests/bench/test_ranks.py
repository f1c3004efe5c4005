"""Ranks, Friedman's test and Nemenyi's difference agree with the published ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from polymodal.bench.board import Board
from polymodal.bench.ranks import alike, critical_difference, friedman, rank_entries


@pytest.mark.parametrize(
    ("entries", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_the_critical_difference_uses_the_published_q_of_demsar_2006_table_5(entries: int, q: float) -> None:
    scale = math.sqrt(entries * (entries + 1) / (6 * 14))
    assert critical_difference(entries, 14) / scale == pytest.approx(
        q, abs=1e-3
    )  # some of the published ones are cut, not rounded


def test_the_worked_example_of_demsar_2006_comes_out() -> None:
    # Four classifiers on 14 data sets: critical difference 2.569 * sqrt(4 * 5 / (6 * 14)) = 1.25.
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_friedman_equals_its_closed_form_without_ties() -> None:
    losses = np.argsort(np.random.default_rng(0).random((12, 4)), axis=1).astype(float)
    ranks = losses.mean(axis=0) + 1
    statistic = 12 * 12 / (4 * 5) * (np.sum(ranks**2) - 4 * 25 / 4)
    from scipy.stats import chi2

    assert friedman(losses) == pytest.approx(chi2.sf(statistic, 3))


def test_friedman_has_no_answer_for_two_entries_and_is_sure_of_ties() -> None:
    assert math.isnan(friedman(np.ones((9, 2))))
    assert math.isnan(friedman(np.ones((1, 4))))
    assert friedman(np.ones((9, 4))) == 1.0


def test_groups_are_the_longest_runs_within_the_difference() -> None:
    assert alike([1.0, 1.5, 2.2, 4.0, 4.4], 1.25) == ((0, 2), (3, 4))
    assert alike([1.0, 2.0, 3.0], 1.0) == ((0, 1), (1, 2))
    assert alike([1.0, 3.0], 1.0) == ()
    assert alike([1.0, 1.0], math.nan) == ()


def _with(board: Board, values: dict[str, list[float]], corpus: str = "ravdess") -> Board:
    """Return a board of as many corpora as there are values, each with one figure an entry, like one of ``corpus``."""
    model = next(f for f in board.figures if f.corpus == corpus and f.main)
    info = next(c for c in board.corpora if c.name == corpus)
    figures = tuple(
        replace(model, entry=name, corpus=f"c{i}", condition="complete", series="", mean=mean)
        for name, means in values.items()
        for i, mean in enumerate(means)
    )
    entries = tuple(replace(board.entries[0], name=name) for name in values)
    corpora = tuple(replace(info, name=f"c{i}") for i in range(len(next(iter(values.values())))))
    return replace(board, corpora=corpora, entries=entries, figures=figures, left=())


def test_ties_share_the_mean_of_their_ranks(board: Board) -> None:
    found = rank_entries(_with(board, {"a": [0.5, 0.1], "b": [0.5, 0.2], "c": [0.4, 0.3]}))
    assert dict(zip(found.names, found.ranks, strict=True)) == {"b": 1.75, "c": 2.0, "a": 2.25}


def test_lower_is_better_where_the_metric_says_so(board: Board) -> None:
    values = {"a": [0.5, 0.1], "b": [0.6, 0.2]}
    assert rank_entries(_with(board, values)).names == ("b", "a")
    assert rank_entries(_with(board, values, "cmu_mosi")).names == ("a", "b")


def test_who_lacks_a_corpus_is_not_ranked_and_one_that_all_lack_does_not_count(board: Board) -> None:
    nan = math.nan
    found = rank_entries(_with(board, {"a": [0.5, 0.1, nan], "b": [0.6, nan, nan], "c": [0.4, 0.2, nan]}))
    assert found.corpora == ("c0", "c1")
    assert set(found.names) == {"a", "c"}
    assert found.unranked == ("b",)


def test_entries_left_out_of_a_corpus_are_ranked_on_the_others(board: Board) -> None:
    gone = {left.entry for left in board.left}
    everywhere, alone = rank_entries(board), rank_entries(board, ["cmu_mosi"])
    assert set(everywhere.unranked) == gone
    assert not alone.unranked
    assert alone.corpora == ("cmu_mosi",)


def test_a_corpus_counts_once_and_few_corpora_are_not_tested(board: Board) -> None:
    values = {"a": [0.5] * 10, "b": [0.4] * 10, "c": [0.1] * 10}
    enough = rank_entries(_with(board, values))
    assert len(enough.corpora) == 10
    assert enough.p < 0.001
    assert enough.difference == pytest.approx(critical_difference(3, 10))
    assert enough.groups == ((0, 1), (1, 2))
    few = rank_entries(_with(board, {name: means[:9] for name, means in values.items()}))
    assert few.ranks == enough.ranks
    assert math.isnan(few.p)
    assert math.isnan(few.difference)
    assert few.groups == ()
    assert len(rank_entries(board).corpora) == len(board.corpora)


def test_no_figures_make_no_ranking(board: Board) -> None:
    found = rank_entries(replace(board, figures=()))
    assert found.names == ()
    assert len(found.unranked) == len(board.entries)
    assert math.isnan(found.difference)
