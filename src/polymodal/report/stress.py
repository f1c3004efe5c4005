"""The curves of a report: a metric against the strength of a stress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polymodal.report.metrics import arrow, label, scale
from polymodal.report.plots import BLUE, INK, new_figure, plain_text, shorten
from polymodal.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
"""Curves beside each other: more cannot be read on a phone."""


def stress_curves(rows: Sequence[Row], complete: Row) -> Figure | None:
    """Return one panel per series with at least two points; None where there is none."""
    series: dict[str, list[Row]] = {}
    for row in rows:
        if math.isfinite(row.value):
            series.setdefault(row.series, []).append(row)
    panels = {name: points for name, points in series.items() if len(points) > 1}
    if not panels:
        return None
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure, axes = new_figure(2.5 * down, across, down, sharey=True)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for number, (ax, (name, points)) in enumerate(zip(axes, panels.items(), strict=False)):
        _curve(ax, name, points, complete)
        if number % across == 0:
            ax.set_ylabel(f"{plain_text(label(complete.metric))} {arrow(complete.higher_is_better)}", color=INK)
    return figure


def _curve(ax: Axes, name: str, points: Sequence[Row], complete: Row) -> None:
    factor = scale(complete.metric)
    x = [row.value for row in points]
    mean, low, high = ([getattr(row, k) * factor for row in points] for k in ("mean", "low", "high"))
    ax.axhline(complete.mean * factor, color=INK, linewidth=0.9, linestyle="--")
    ax.fill_between(x, low, high, color=BLUE, alpha=0.25, linewidth=0)
    ax.plot(x, mean, color=BLUE, marker="o", markersize=4)
    ax.set_xlabel(shorten(name, 24))
