"""The part of a report on absence and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.report.folder import Run
from polymodal.report.metrics import arrow, label, scale
from polymodal.report.plots import BLUE, INK, new_figure, plain_text, shorten
from polymodal.report.rows import Row, score_rows
from polymodal.report.tables import Cell, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
"""Curves beside each other: more cannot be read on a phone."""


def stress_rows(run: Run) -> list[tuple[dict[str, Any], Row]]:
    """Return (stored row, figure) of the main metric of the main target under stress, one split."""
    if run.scores is None:
        return []
    stored = [
        row
        for row in run.scores.get("stress", ())
        if row["main"] and row["target"] == run.target.name and row["split"] == run.split
    ]
    as_scores = {**run.scores, "rows": [{**row, "present": [row["stress"]], "complete": False} for row in stored]}
    return list(zip(stored, score_rows(as_scores), strict=True))


def stress_table(rows: Sequence[tuple[dict[str, Any], Row]], complete: Row) -> Table:
    """Return stresses x (value, interval, loss against complete input)."""
    sign = 1 if complete.higher_is_better else -1

    def line(name: str, row: Row) -> tuple[Cell, ...]:
        change = sign * (row.mean - complete.mean) * scale(row.metric)
        return Cell(name), Cell(row.value), Cell(row.interval), Cell(f"{change:+.3g}" if np.isfinite(change) else "")

    lines = [(*line("complete", complete)[:3], Cell(""))]
    for stored, row in rows:
        lines.append(line(f"area under {stored['series']}" if stored["stress"] == "area" else stored["stress"], row))
    metric = f"{label(complete.metric)} {arrow(complete.higher_is_better)}"
    caption = (
        f"{metric} of {complete.target} on {complete.split} under stress, the change against complete input (negative: "
        "worse). An area is the mean height of its curve, complete input included."
    )
    return Table(caption, ("Stress", metric, "95% interval", "Change"), tuple(lines), tuple(r for _, r in rows))


def stress_curves(rows: Sequence[tuple[dict[str, Any], Row]], complete: Row) -> Figure | None:
    """Return one panel per series with at least two points; None where there is none."""
    series: dict[str, list[tuple[float, Row]]] = {}
    for stored, row in rows:
        if stored["series"] and stored["value"] is not None:
            series.setdefault(stored["series"], []).append((float(stored["value"]), row))
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


def _curve(ax: Axes, name: str, points: Sequence[tuple[float, Row]], complete: Row) -> None:
    factor = scale(complete.metric)
    x = [value for value, _ in points]
    mean, low, high = ([getattr(row, k) * factor for _, row in points] for k in ("mean", "low", "high"))
    ax.axhline(complete.mean * factor, color=INK, linewidth=0.9, linestyle="--")
    ax.fill_between(x, low, high, color=BLUE, alpha=0.25, linewidth=0)
    ax.plot(x, mean, color=BLUE, marker="o", markersize=4)
    ax.set_xlabel(shorten(name, 24))


def spell(rows: Sequence[tuple[dict[str, Any], Row]]) -> str:
    """Return the curves in words."""
    return ", ".join(f"{stored['stress']} {row.value}" for stored, row in rows if stored["stress"] != "area")
