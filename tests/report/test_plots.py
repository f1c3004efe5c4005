"""Figures show the numbers they were given, and shrug off NaN, single points and odd names."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polymodal.core import Target
from polymodal.report import plots
from polymodal.report.rows import Row
from polymodal.report.tables import leaderboard, score_rows


@pytest.fixture
def rows(make_scores) -> list[Row]:
    found = score_rows(make_scores([Target("sentiment", "regression", (-3, 3))]))
    return [r for r in found if r.main and r.split == "test"]


def _texts(ax: Any) -> list[str]:
    return [t.get_text() for t in ax.texts]


def _pixels(figure: Any) -> np.ndarray[Any, Any]:
    """Draw ``figure`` and return (height, width, 4)."""
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return imread(buffer)


def test_subset_bars_are_as_long_as_the_scores_and_mark_the_complete_input(rows: list[Row]) -> None:
    ax = plots.subset_bars(rows[::-1]).axes[0]
    assert [len(t.get_text().split("+")) for t in ax.get_yticklabels()] == [1, 1, 1, 2, 2, 2, 3]
    assert sorted(b.get_width() for b in ax.patches) == pytest.approx(sorted(r.mean for r in rows))
    assert ax.get_yticklabels()[-1].get_text() == "complete (text + audio + vision)"
    assert len({b.get_facecolor() for b in ax.patches}) == 2


def test_bars_write_percent_values_on_a_percent_axis(rows: list[Row]) -> None:
    ax = plots.target_bars([replace(rows[0], metric="f1", mean=0.5, low=0.4, high=0.7)]).axes[0]
    assert _texts(ax) == ["50.0"]
    assert ax.patches[0].get_width() == pytest.approx(50)


def test_written_values_stay_inside_the_axes(rows: list[Row]) -> None:
    figure = plots.subset_bars(
        [replace(r, mean=m, low=m - 0.1, high=m + 0.1) for r, m in zip(rows, (-1, 1), strict=False)]
    )
    figure.canvas.draw()
    box = figure.axes[0].get_window_extent()
    for text in figure.axes[0].texts:
        assert box.x0 - 1 <= text.get_window_extent().x0
        assert text.get_window_extent().x1 <= box.x1 + 1


def test_a_bar_without_a_value_is_a_dash(rows: list[Row]) -> None:
    figure = plots.subset_bars([replace(rows[0], mean=math.nan, low=math.nan, high=math.nan), rows[1]])
    assert _texts(figure.axes[0]) == ["–", "1.100"]  # noqa: RUF001
    assert _pixels(figure)[..., 3].std() > 0


def test_comparison_puts_the_best_method_on_top(make_scores) -> None:
    target = [Target("sentiment", "regression", (-3, 3))]
    runs = [make_scores(target, shift=s) for s in (0.2, 0.0, 0.1)]
    ax = plots.comparison_plot(leaderboard(runs, labels=["worst", "best", "middle"]).rows).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["best", "middle", "worst"]
    assert ax.yaxis_inverted()
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([0.7, 0.8, 0.9])


def test_loss_curves_have_a_panel_per_term_and_a_dot_at_the_kept_epoch() -> None:
    curve = [(1, 2.0), (2, 1.0), (3, 1.5)]
    curves = {"loss": {7: {"train": curve, "valid": curve}}, "uni": {7: {"train": curve}}}
    axes = plots.loss_curves(curves, {7: 2}).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["loss", "uni"]
    dots = [line.get_xydata().tolist() for line in axes[0].lines if line.get_marker() == "o"]
    assert dots == [[[2, 1]], [[2, 1]]]


def test_a_single_epoch_can_be_seen() -> None:
    figure = plots.loss_curves({"loss": {7: {"train": [(1, 2.0)]}}}, {})
    assert figure.axes[0].lines[0].get_marker() == "."


def test_residual_quantiles_of_a_constant_shift_are_that_shift() -> None:
    true = np.linspace(-3, 3, 80)
    centres, quantiles = plots.residual_quantiles(true, true + 0.5)
    assert quantiles.shape == (5, 8)
    np.testing.assert_allclose(quantiles, 0.5)
    assert (np.diff(centres) > 0).all()


@pytest.mark.parametrize("sizes", [(95, 5), (5, 95)])
def test_residual_quantiles_keep_equal_labels_together(sizes: tuple[int, int]) -> None:
    true = np.repeat([0.0, 1.0], sizes)
    centres, quantiles = plots.residual_quantiles(true, np.zeros(100))
    np.testing.assert_allclose(centres, [0, 1])
    np.testing.assert_allclose(quantiles[2], [0, -1])


def test_confusion_matrix_writes_share_and_count() -> None:
    ax = plots.confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"]).axes[0]
    assert _texts(ax) == ["75%\n3", "25%\n1", "0%\n0", "0%\n0"]


def test_many_points_are_drawn_as_an_image() -> None:
    points = np.random.default_rng(0).normal(size=(2000, 2))
    figure = plots.projection(points, points[:, 0], (0.5, 0.2), "sentiment", [])
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    assert "<image" in buffer.getvalue()
    assert len(buffer.getvalue()) < 400_000


def test_class_numbers_get_a_legend_and_other_labels_a_colour_bar() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    figure = plots.projection(points, np.arange(30) % 3, (0.5, 0.2), "emotion", ["a", "b", "c"])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert len(plots.projection(points, points[:, 0], (0.5, 0.2), "sentiment", []).axes) == 2


def test_a_dollar_in_a_name_is_not_a_formula(rows: list[Row]) -> None:
    figure = plots.target_bars([replace(rows[0], target=r"$\frac{$")])
    assert _pixels(figure)[..., 3].std() > 0


def test_every_class_of_a_long_list_looks_different() -> None:
    points = np.zeros((30, 2))
    figure = plots.projection(points, np.arange(30), (0.5, 0.2), "emotion", [f"c{i}" for i in range(30)])
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in figure.axes[0].collections}
    assert len(looks) == 30
