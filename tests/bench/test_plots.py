"""Plots of a board show the numbers they were given, name what they show, and shrug off what is missing."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from polymodal.bench import plots, radar
from polymodal.bench.board import Board
from polymodal.bench.figures import area_key, main_figures, order
from polymodal.bench.labels import spread
from polymodal.bench.ranks import alike, rank_entries


def _draw(figure: Any) -> Any:
    figure.savefig(io.BytesIO(), format="png")
    return figure


def _line_at(ax: Any, y: float) -> list[Any]:
    return [line for line in ax.lines if len(line.get_ydata()) and math.isclose(line.get_ydata()[-1], y)]


def test_a_curve_begins_with_complete_input_and_ends_at_the_hardest_point(board: Board) -> None:
    ax = _draw(plots.curve_plot(board, "cmu_mosi", "missing:rate")).axes[0]
    main = main_figures(board, "cmu_mosi")
    for name in order(board, "cmu_mosi"):
        (line,) = _line_at(ax, main["missing:rate=0.7"][name].mean)
        assert line.get_ydata()[0] == main["complete"][name].mean
        assert line.get_xdata() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2 / 3])


def test_two_modalities_cannot_lose_more_than_half(board: Board) -> None:
    ax = plots.curve_plot(board, "ravdess", "missing:rate").axes[0]
    assert max(max(line.get_xdata()) for line in ax.lines) == 0.5


def test_a_curve_over_decibels_has_no_complete_point_and_falls_to_the_right(board: Board) -> None:
    ax = _draw(plots.curve_plot(board, "cmu_mosi", "noise:snr")).axes[0]
    assert {len(line.get_xdata()) for line in ax.lines} == {4}
    assert ax.xaxis_inverted()


def test_shares_are_drawn_in_percent(board: Board) -> None:
    ax = plots.curve_plot(board, "ravdess", "missing:rate").axes[0]
    assert max(line.get_ydata().max() for line in ax.lines) > 50


def test_only_a_few_of_many_entries_have_a_colour_and_a_name(crowd: Board) -> None:
    ax = plots.curve_plot(crowd, "cmu_mosi", "missing:rate").axes[0]
    names = {text.get_text() for text in ax.texts}
    assert names == {*plots.highlighted(crowd, "cmu_mosi"), "linear"}
    assert len(ax.lines) == len(crowd.entries)
    assert len(ax.collections) == 3  # bands: best aware, best plain, floor


def test_names_at_the_ends_of_curves_do_not_lie_on_each_other(crowd: Board) -> None:
    figure = _draw(plots.curve_plot(crowd, "cmu_mosi", "missing:rate"))
    boxes = sorted((Text.get_window_extent(t) for t in figure.axes[0].texts), key=lambda box: box.y0)
    assert not any(below.overlaps(above) for below, above in itertools.pairwise(boxes))


def test_the_best_aware_entry_is_highlighted_even_when_it_is_far_down(crowd: Board) -> None:
    entries = tuple(
        replace(e, prior="own" if e.name == order(crowd, "cmu_mosi")[-2] else "none") for e in crowd.entries
    )
    shown = plots.highlighted(replace(crowd, entries=entries), "cmu_mosi")
    assert shown[-1] == order(crowd, "cmu_mosi")[-2]
    assert len(shown) == plots.SHOWN


def test_spread_moves_no_more_than_it_must_and_keeps_the_order() -> None:
    assert spread([0.0, 1.0, 2.0], 0.5) == [0.0, 1.0, 2.0]
    assert spread([1.0, 1.0], 0.5) == pytest.approx([0.75, 1.25])
    assert spread([1.0, 0.9, 5.0], 0.5) == pytest.approx([1.2, 0.7, 5.0])
    assert spread([], 1.0) == []
    rng = np.random.default_rng(0)
    for _ in range(20):
        wanted = rng.random(12)
        moved = np.array(spread(wanted.tolist(), 0.1))
        assert (np.argsort(moved) == np.argsort(wanted)).all()
        assert np.diff(np.sort(moved)).min() > 0.1 - 1e-9


def test_areas_are_sorted_best_first_with_the_floor_marked(board: Board) -> None:
    for corpus in ("cmu_mosi", "ravdess"):
        ax = _draw(plots.area_plot(board, corpus, "missing:rate")).axes[0]
        assert [t.get_text() for t in ax.get_yticklabels()] == order(board, corpus)
    found = main_figures(board, "ravdess")[area_key("missing:rate")]
    assert any(
        np.allclose(line.get_xdata(), found["linear"].mean * 100) for line in ax.lines if line.get_ydata()[-1] == 1
    )


def test_the_rank_diagram_shows_ranks_difference_and_groups(board: Board) -> None:
    few = rank_entries(board)
    ax = _draw(plots.rank_diagram(board, few)).axes[0]
    assert [t.get_text() for t in ax.texts] == [f"{r:.1f}" for r in few.ranks]
    ranking = replace(few, difference=1.2, groups=alike(few.ranks, 1.2))
    ax = _draw(plots.rank_diagram(board, ranking)).axes[0]
    texts = [t.get_text() for t in ax.texts]
    assert texts == [*(f"{r:.1f}" for r in ranking.ranks), f"critical difference {ranking.difference:.2f}"]
    bars = [line for line in ax.lines if line.get_linewidth() == 3]
    assert [tuple(np.round(bar.get_ydata()).astype(int)) for bar in bars] == list(ranking.groups)


def test_a_legend_explains_the_markers_that_are_there_and_no_others(board: Board) -> None:
    ranking = rank_entries(board)
    for prior, markers in (("none", ["plain", "floor"]), ("told", ["made for absence", "floor"])):
        entries = tuple(replace(e, prior=prior) for e in board.entries)
        (legend,) = plots.rank_diagram(replace(board, entries=entries), ranking).legends
        assert [text.get_text() for text in legend.get_texts()] == markers


def test_radii_are_ratios_to_the_best_complete_score(board: Board) -> None:
    for corpus, better in (("cmu_mosi", min), ("ravdess", max)):
        main = main_figures(board, corpus)
        best = better(f.mean for f in main["complete"].values())
        keys = radar.radar_axes(board, corpus)
        assert keys[0] == "complete"
        assert "missing:rate=0.7" in keys
        assert "missing:rate=0.6" not in keys
        for name in order(board, corpus):
            means = np.array([main[k][name].mean for k in keys])
            expected = best / means if better is min else means / best
            assert radar.relative(board, corpus, name) == pytest.approx(expected)
        assert max(radar.relative(board, corpus, n)[0] for n in order(board, corpus)) == 1


def test_a_score_below_zero_is_at_the_centre_and_an_unknown_one_is_left_out(board: Board) -> None:
    changed = {"subset:audio": -0.2, "subset:vision": math.nan}
    figures = tuple(
        replace(f, mean=changed[f.condition]) if f.entry == "linear" and f.condition in changed else f
        for f in board.figures
    )
    broken = replace(board, figures=figures)
    values = dict(zip(radar.radar_axes(broken, "ravdess"), radar.relative(broken, "ravdess", "linear"), strict=True))
    assert values["subset:audio"] == 0
    assert math.isnan(values["subset:vision"])
    _draw(radar.radar(broken, "ravdess"))


def test_two_conditions_make_no_radar(board: Board) -> None:
    few = tuple(f for f in board.figures if f.condition in ("complete", "subset:audio"))
    assert radar.radar(replace(board, figures=few), "ravdess") is None


def test_the_frontier_has_whom_nobody_beats_in_both() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 2.0], [5.0, 7.0, 6.0, 9.0, 6.5]
    assert plots.frontier(x, y, higher_is_better=True) == [0, 1, 3]
    assert plots.frontier(x, y, higher_is_better=False) == [0]


def test_names_of_points_lie_neither_on_each_other_nor_outside(crowd: Board) -> None:
    figure = _draw(plots.cost_plot(crowd, "cmu_mosi", "train_seconds"))
    boxes = [Text.get_window_extent(t) for t in figure.axes[0].texts]
    assert len(boxes) == len(crowd.entries)
    crossing = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert crossing <= 1
    page = figure.bbox
    assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)


def test_costs_that_are_unknown_or_zero_are_left_out(board: Board) -> None:
    costs = tuple(replace(c, train_seconds=math.nan if c.entry == "cyin" else 0.0) for c in board.costs)
    assert plots.cost_plot(replace(board, costs=costs), "cmu_mosi", "train_seconds") is None


def test_plots_shrug_off_nan_and_odd_names(board: Board, evil: str) -> None:
    figures = tuple(
        replace(f, entry=evil, mean=math.nan, low=math.nan, high=math.nan) if f.entry == "cyin" else f
        for f in board.figures
    )
    entries = tuple(replace(e, name=evil) if e.name == "cyin" else e for e in board.entries)
    odd = replace(board, figures=figures, entries=entries)
    for figure in (
        plots.curve_plot(odd, "cmu_mosi", "missing:rate"),
        plots.area_plot(odd, "cmu_mosi", "missing:rate"),
        plots.rank_diagram(odd, rank_entries(odd)),
        radar.radar(odd, "cmu_mosi"),
        plots.cost_plot(odd, "cmu_mosi", "latency_ms"),
    ):
        _draw(figure)
