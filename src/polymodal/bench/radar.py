"""The radar of robustness: a few entries over every kind of damage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.bench.board import Board
from polymodal.bench.figures import (
    COMPLETE,
    corpus_info,
    main_figures,
    others,
    points,
    series_of,
    subsets,
    title_of,
)
from polymodal.bench.plots import floor_of, highlighted
from polymodal.report.plots import INK, PALETTE, WIDTH, plain_text, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

FEW = 5
"""Entries on a radar: more shapes on each other cannot be read."""


def radar_axes(board: Board, corpus: str) -> list[str]:
    """Return the conditions on a radar: complete, every subset, the hardest point of each curve, single stresses."""
    main = main_figures(board, corpus)
    hardest = [found[-1] for s in series_of(board, corpus) if (found := points(main, s))]
    return [k for k in (COMPLETE, *subsets(main), *hardest, *others(main)) if k in main]


def relative(board: Board, corpus: str, entry: str) -> list[float]:
    """Return the score of ``entry`` on every axis of the radar over the best score of anybody on complete input.

    For a metric where lower is better the ratio is turned round, so that 1 is always the best complete score and half
    as good is 0.5. Negative ratios count as 0; unknown ones are NaN.
    """
    main = main_figures(board, corpus)
    complete = [f.mean for f in main.get(COMPLETE, {}).values() if math.isfinite(f.mean)]
    higher = corpus_info(board, corpus).higher_is_better
    best = (max(complete) if higher else min(complete)) if complete else math.nan
    values = []
    for key in radar_axes(board, corpus):
        mean = main[key][entry].mean if entry in main[key] else math.nan
        above, below = (mean, best) if higher else (best, mean)
        values.append(max(above / below, 0.0) if below else math.nan)
    return values


def radar(board: Board, corpus: str) -> Figure | None:
    """Return the robustness of a few entries and the floor, see ``relative``; None for fewer than three conditions."""
    from matplotlib.figure import Figure

    keys = radar_axes(board, corpus)
    if len(keys) < 3:
        return None
    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained", facecolor="none")
    ax: PolarAxes = figure.add_subplot(projection="polar")  # type: ignore[assignment]  # the stub says Axes
    angles = np.linspace(0, 2 * math.pi, len(keys), endpoint=False)
    lowest, chosen = 1.0, highlighted(board, corpus, FEW)
    for name in [*floor_of(board, corpus), *reversed(chosen)]:
        values = np.array(relative(board, corpus, name))
        lowest = min([lowest, *values[np.isfinite(values)]])
        color = PALETTE[chosen.index(name)] if name in chosen else INK
        dashes = "-" if name in chosen else (0, (4, 2))
        around, closed = np.append(angles, angles[0]), np.append(values, values[0])
        ax.plot(around, closed, color=color, linestyle=dashes, linewidth=1.7, label=shorten(name, 16))
    _polar(ax, angles, [title_of(k) for k in keys], lowest)
    handles, texts = ax.get_legend_handles_labels()
    figure.legend(
        handles[::-1], texts[::-1], loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=9
    )
    return figure


def _polar(ax: PolarAxes, angles: np.ndarray[Any, Any], names: Sequence[str], low: float) -> None:
    """Set up the web: rings from a round number below ``low`` to 1, the first axis on top, clockwise."""
    ax.set_facecolor("none")
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    centre = max(math.floor(low * 10 - 0.5) / 10, 0)
    rings = np.linspace(centre, 1, 5)[1:]
    ax.set_ylim(centre, 1.03)
    texts = [f"{r:.2f}".rstrip("0").rstrip(".") for r in rings]
    ax.set_rgrids(rings, texts, color=INK, fontsize=8, angle=180 / len(names))
    broken = [plain_text(n).replace(" + ", " +\n").replace("=", "\n=") for n in names]
    ax.set_xticks(angles, broken, color=INK, fontsize=9)
    for text, angle in zip(ax.get_xticklabels(), angles, strict=True):
        side = math.sin(angle)
        text.set_horizontalalignment("center" if abs(side) < 0.2 else "left" if side > 0 else "right")
    ax.grid(color=INK, alpha=0.3, linewidth=0.7)
    ax.spines["polar"].set_visible(False)
