"""Plots of a benchmark as matplotlib figures; no global state, no window. Colours are those of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polymodal.bench.board import Board, Entry
from polymodal.bench.board import Figure as Score
from polymodal.bench.figures import (
    COMPLETE,
    area_key,
    corpus_info,
    entry_info,
    falls,
    headline,
    main_figures,
    option_of,
    order,
    points,
)
from polymodal.bench.labels import name_ends, name_points
from polymodal.bench.ranks import Ranking
from polymodal.report.metrics import arrow, label, scale, write_value
from polymodal.report.plots import BLUE, GREY, INK, ORANGE, PALETTE, new_figure, plain_text, shorten
from polymodal.stress import curve_places

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 6
"""Entries that get a colour of their own; there are no more that everybody can tell apart."""


def highlighted(board: Board, corpus: str, count: int = SHOWN) -> list[str]:
    """Return the first ``count`` entries by ``headline``, the best aware one even if it is not among them."""
    entries = entry_info(board)
    names = [n for n in order(board, corpus) if not entries[n].floor]
    aware = next((n for n in names if entries[n].aware), None)
    return names[:count] if aware is None or aware in names[:count] else [*names[: count - 1], aware]


def floor_of(board: Board, corpus: str) -> list[str]:
    """Return the floor as a list; empty where it has no figures on ``corpus``."""
    entries = entry_info(board)
    return [n for n in order(board, corpus) if entries[n].floor]


def _leaders(board: Board, corpus: str) -> list[str]:
    """The best entry that is made for absence and the best that is not."""
    entries = entry_info(board)
    names = [n for n in order(board, corpus) if not entries[n].floor]
    firsts = (next((n for n in names if entries[n].aware is aware), None) for aware in (True, False))
    return [n for n in firsts if n is not None]


def _axis_label(board: Board, corpus: str, what: str = "") -> str:
    info = corpus_info(board, corpus)
    return f"{plain_text(what + label(info.metric))} {arrow(info.higher_is_better)}"


def curve_plot(board: Board, corpus: str, series: str) -> Figure:
    """Return score against strength: the highlighted entries in colour, the floor dashed, the rest thin and grey.

    The best aware entry, the best plain one and the floor have 95% bands: more of them would cover each other. Damage
    grows to the right. A curve over a share of damage begins with complete input at 0.
    """
    from matplotlib.ticker import MaxNLocator

    figure, (ax,) = new_figure(3.9)
    shown, floor = highlighted(board, corpus), floor_of(board, corpus)
    banded = _leaders(board, corpus)
    ends = []
    for name in [*reversed(order(board, corpus))]:
        line = _line(board, corpus, series, name)
        if not line:
            continue
        x = np.array([v for v, _ in line])
        mean, low, high = (np.array([getattr(f, k) for _, f in line]) * scale(line[0][1].metric) for k in _SPAN)
        if name in shown:
            color = PALETTE[shown.index(name)]
            if name in banded:
                ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
            ax.plot(x, mean, color=color, linewidth=1.8, marker="o", markersize=3.5)
            ends.append((name, x[-1], mean[-1], color))
        elif name in floor:
            ax.fill_between(x, low, high, color=INK, alpha=0.12, linewidth=0)
            ax.plot(x, mean, color=INK, linewidth=1.6, linestyle=(0, (4, 2)))
            ends.append((name, x[-1], mean[-1], INK))
        else:
            ax.plot(x, mean, color=GREY, linewidth=0.7, alpha=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    if falls(series):
        ax.invert_xaxis()
    ax.margins(x=0.02)
    ax.set_xlabel(f"{plain_text(series)}{' (dB)' if option_of(series) == 'snr' else ''}, more damage to the right")
    ax.set_ylabel(_axis_label(board, corpus))
    ax.grid(axis="y", color=INK, alpha=0.2)
    known = [end for end in ends if math.isfinite(end[2])]
    name_ends(ax, known)
    return figure


_SPAN = ("mean", "low", "high")


def _line(board: Board, corpus: str, series: str, entry: str) -> list[tuple[float, Score]]:
    """Return (place, figure) of the points that ``entry`` has on the curve, complete input first where it is at 0.

    Places are those that the area is computed from: two modalities cannot lose more than half.
    """
    main = main_figures(board, corpus)
    found = [main[k][entry] for k in points(main, series) if entry in main[k]]
    if not found:
        return []
    values = [f.value for f in found]
    places = curve_places(series, values, len(corpus_info(board, corpus).modalities)) or values
    if len(places) == len(found):
        return list(zip(places, found, strict=True))
    start = main.get(COMPLETE, {}).get(entry)
    return [*([(0.0, start)] if start else []), *zip(places[1:], found, strict=True)]


def area_plot(board: Board, corpus: str, series: str) -> Figure:
    """Return a dot with its interval per entry, best on top: the area under a curve; small dots are seeds."""
    found = main_figures(board, corpus)[area_key(series)]
    entries = entry_info(board)
    names = [n for n in found if math.isfinite(found[n].mean)]
    names.sort(key=lambda n: -found[n].mean if found[n].higher_is_better else found[n].mean)
    figure, (ax,) = new_figure(1.15 + 0.24 * len(names))
    for place, name in enumerate(names):
        score = found[name]
        factor = scale(score.metric)
        color, marker = _kind(entries[name].aware, entries[name].floor)
        mean, low, high = (getattr(score, k) * factor for k in _SPAN)
        if math.isfinite(low) and math.isfinite(high):
            ax.plot([low, high], [place, place], color=color, linewidth=1.6, alpha=0.6, solid_capstyle="butt")
        ax.plot(np.array(score.seeds) * factor, np.full(len(score.seeds), place), "|", color=color, markersize=7)
        ax.plot(mean, place, marker, color=color, markersize=6)
        if entries[name].floor:
            ax.axvline(mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    _rows(ax, names)
    ax.grid(axis="x", color=INK, alpha=0.2)
    ax.set_xlabel(_axis_label(board, corpus, f"mean height of the {series} curve: "))
    _kind_legend(figure, [entries[n] for n in names])
    return figure


def _rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), [shorten(n, 24) for n in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def _kind(aware: bool, floor: bool) -> tuple[str, str]:
    return (INK, "D") if floor else (ORANGE, "o") if aware else (BLUE, "s")


def _kind_legend(figure: Figure, shown: Sequence[Entry]) -> None:
    """Explain the markers of ``shown``, and no others."""
    from matplotlib.lines import Line2D

    known = {"made for absence": (True, False), "plain": (False, False), "floor": (False, True)}
    there = {_kind(e.aware, e.floor) for e in shown}
    kinds = {name: kind for name, kind in known.items() if _kind(*kind) in there}
    styles = [_kind(*kind) for kind in kinds.values()]
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", markersize=6) for c, m in styles]
    figure.legend(handles, list(kinds), loc="outside upper left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)


def rank_diagram(board: Board, ranking: Ranking) -> Figure:
    """Return average ranks, best on top, with the critical difference and bars over groups that do not differ.

    The bars stand upright at the right, beside the lines of the entries that they join.
    """
    from matplotlib.ticker import MaxNLocator

    entries = entry_info(board)
    figure, (ax,) = new_figure(1.6 + 0.25 * len(ranking.names))
    for place, (name, rank) in enumerate(zip(ranking.names, ranking.ranks, strict=True)):
        color, marker = _kind(entries[name].aware, entries[name].floor)
        ax.plot(rank, place, marker, color=color, markersize=7)
        _note(ax, f"{rank:.1f}", rank, place)
    for column, (first, last) in enumerate(ranking.groups):
        x = 1.02 + 0.025 * column
        ax.plot(
            [x, x], [first - 0.2, last + 0.2], color=INK, linewidth=3, transform=ax.get_yaxis_transform(), clip_on=False
        )
    _rows(ax, ranking.names)
    ax.set_xlim(0.5, len(ranking.names) + 0.7)
    if math.isfinite(ranking.difference):
        ax.errorbar(1 + ranking.difference / 2, -1.0, xerr=ranking.difference / 2, color=INK, capsize=4, linewidth=1.6)
        _note(ax, f"critical difference {ranking.difference:.2f}", 1 + ranking.difference, -1.0)
        ax.set_ylim(len(ranking.names) - 0.5, -1.5)
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    ax.grid(axis="x", color=INK, alpha=0.2)
    bars = "; upright bars: no significant difference" if ranking.groups else ""
    ax.set_xlabel(f"average rank, 1 is best{bars}")
    _kind_legend(figure, [entries[n] for n in ranking.names])
    figure.set_layout_engine("constrained", w_pad=0.1)  # half of the last bar is else cut off
    return figure


def _note(ax: Axes, text: str, x: float, y: float) -> None:
    """Write ``text`` to the right of a point."""
    ax.annotate(text, (x, y), (8, 0), textcoords="offset points", va="center", color=INK, fontsize=9)


COST_LABELS = {"train_seconds": "training, seconds per seed", "latency_ms": "latency, ms per sample"}


def cost_plot(board: Board, corpus: str, cost: str) -> Figure | None:
    """Return the headline score against one cost on a log axis; the line joins entries that nobody beats in both.

    Args:
        board, corpus: where from.
        cost: a field of ``Cost`` that ``COST_LABELS`` names.

    Returns:
        None where fewer than two entries have both.
    """
    key, entries = headline(board, corpus), entry_info(board)
    scores = main_figures(board, corpus).get(key, {})
    spent = {c.entry: float(getattr(c, cost)) for c in board.costs if c.corpus == corpus}
    names = [n for n in scores if math.isfinite(scores[n].mean) and spent.get(n, 0) > 0]
    if len(names) < 2:
        return None
    figure, (ax,) = new_figure(4.1)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.tick_params(which="minor", colors=INK)
    x, y = [spent[n] for n in names], [scores[n].mean * scale(scores[n].metric) for n in names]
    front = frontier(x, y, corpus_info(board, corpus).higher_is_better)
    ax.plot([x[i] for i in front], [y[i] for i in front], color=INK, linewidth=0.9, alpha=0.6, zorder=0)
    for name, px, py in zip(names, x, y, strict=True):
        color, marker = _kind(entries[name].aware, entries[name].floor)
        ax.plot(px, py, marker, color=color, markersize=6)
    ax.margins(0.1)
    ax.grid(color=INK, alpha=0.15)
    ax.set_xlabel(COST_LABELS[cost])
    ax.set_ylabel(_axis_label(board, corpus, "" if key == COMPLETE else f"{key}: "))
    _kind_legend(figure, [entries[n] for n in names])
    figure.draw_without_rendering()  # places of names depend on the layout
    figure.set_layout_engine("none")
    name_points(ax, names, x, y)
    return figure


def frontier(x: Sequence[float], y: Sequence[float], higher_is_better: bool) -> list[int]:
    """Return the places of the points that no other beats in both, cheapest first."""
    sign = -1 if higher_is_better else 1
    front: list[int] = []
    for i in sorted(range(len(x)), key=lambda i: (x[i], sign * y[i])):
        if not front or sign * y[i] < sign * y[front[-1]]:
            front.append(i)
    return front


def spell(found: dict[str, Score]) -> str:
    """Return the figures in words, for readers who cannot see a plot."""
    return ", ".join(f"{n} {write_value(f.metric, f.mean)}" for n, f in found.items())
