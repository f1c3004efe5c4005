"""Plots as matplotlib figures, from plain data; no global state, no window.

Figures have a transparent background and mid-tone colours, so that they can be read on white and on black. The
colours of series are those of Okabe and Ito, which readers with any kind of colour blindness can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.report.metrics import arrow, label, scale, write_value
from polymodal.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, Any]

INK = "#777a80"
"""Colour of text and axes: contrast of at least 4:1 on white and on near-black."""
PALETTE = ("#1f83c4", "#d9661f", "#12a47c", "#cc79a7", "#56a9d9", "#d99a14", "#8b8f96")
BLUE, ORANGE, GREY = PALETTE[0], PALETTE[1], PALETTE[-1]
MARKERS = "osD^vPX"
MANY = 800
"""Points from which on a scatter is drawn as an image: thousands of vector shapes are slow to show."""
WIDTH = 5.6
"""Inches: wide enough on a desk, and text is still legible when a phone shrinks it."""


def new_figure(height: float, columns: int = 1, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure ``WIDTH`` wide and its axes, left to right and top to bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes:
        _tidy(ax)
    return figure, axes


def _tidy(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_facecolor("none")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize=9)
    for axis in (ax.xaxis, ax.yaxis):
        # The default adds ticks as axes grow, so after the layout was computed, and their labels are cut off.
        axis.set_major_locator(MaxNLocator(6))
    for text in (ax.xaxis.label, ax.yaxis.label):
        text.set_color(INK)
        text.set_fontsize(10)


def plain_text(text: str) -> str:
    """Escape ``$``: a name is not a formula."""
    return text.replace("$", r"\$")


def shorten(text: str, width: int = 34) -> str:
    """Return at most ``width`` characters of ``text``, escaped as ``plain_text`` does."""
    return plain_text(text if len(text) <= width else text[: width - 1] + "…")


def _intervals(rows: Sequence[Row]) -> tuple[Array, Array]:
    """Return written-scale means (n,) and distances to the interval's ends (2, n), zero where unknown."""
    mean, low, high = (np.array([getattr(r, k) * scale(r.metric) for r in rows]) for k in ("mean", "low", "high"))
    return mean, np.nan_to_num(np.maximum([mean - low, high - mean], 0))


def _bars(rows: Sequence[Row], names: Sequence[str], colors: Sequence[str]) -> Figure:
    """Return horizontal bars with intervals, first row on top, the value written beside each bar."""
    figure, (ax,) = new_figure(0.7 + 0.3 * len(rows))
    mean, error = _intervals(rows)
    shown = np.nan_to_num(mean)
    # Half transparent, so that the interval can be seen where it lies on the bar.
    ax.barh(range(len(rows)), shown, color=colors, height=0.68, alpha=0.55)
    ax.errorbar(shown, range(len(rows)), xerr=error, fmt="none", ecolor=INK, capsize=2.5)
    ends = np.where(shown >= 0, shown + error[1], shown - error[0])
    # Room at the end for the written value, proportional to what the axis has to span.
    span = max(float(np.ptp(np.append(ends, 0))), 1e-9)
    for i, (row, end) in enumerate(zip(rows, ends, strict=True)):
        gap, side = (span * 0.015, "left") if end >= 0 else (-span * 0.015, "right")
        ax.text(end + gap, i, write_value(row.metric, row.mean), va="center", ha=side, color=INK, fontsize=9)
    lowest = min(0, (shown - error[0]).min())
    ax.set_xlim(lowest - span * 0.2 * (ends.min() < 0), max(0, ends.max() + span * 0.15) or 1)
    ax.set_yticks(range(len(rows)), [shorten(n) for n in names])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"{plain_text(label(rows[0].metric))} {arrow(rows[0].higher_is_better)}")
    return figure


def subset_bars(rows: Sequence[Row]) -> Figure:
    """Return one bar per subset of modalities, fewest modalities on top, the complete input in another colour.

    Args:
        rows: the main metric of one target on one split, one row per subset.
    """
    ordered = sorted(rows, key=lambda r: len(r.present))
    names = [f"complete ({r.subset})" if r.complete else r.subset for r in ordered]
    return _bars(ordered, names, [BLUE if r.complete else GREY for r in ordered])


def target_bars(rows: Sequence[Row]) -> Figure:
    """Return one bar per target, in the order given; ``rows`` share one metric."""
    return _bars(rows, [r.target for r in rows], [BLUE] * len(rows))


def comparison_plot(rows: Sequence[Row]) -> Figure:
    """Return a dot with its interval per method, best on top, for the main metric of ``leaderboard(...).rows``."""
    kept = [r for r in rows if r.main]
    kept.sort(key=lambda r: (np.isnan(r.mean), -r.mean if r.higher_is_better else r.mean))
    figure, (ax,) = new_figure(0.8 + 0.32 * len(kept))
    mean, error = _intervals(kept)
    ax.errorbar(mean, range(len(kept)), xerr=error, fmt="o", color=BLUE, ecolor=INK, capsize=3, markersize=6)
    ax.set_yticks(range(len(kept)), [shorten(r.method) for r in kept])
    ax.set_ylim(len(kept) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=INK, alpha=0.25)
    if kept:
        ax.set_xlabel(f"{plain_text(label(kept[0].metric))} {arrow(kept[0].higher_is_better)}")
    return figure


Curve = list[tuple[int, float]]


def loss_curves(curves: dict[str, dict[str, dict[str, Curve]]], best: dict[str, int]) -> Figure:
    """Return one small panel per loss term: training and validation against epochs, a thin line per training.

    Args:
        curves: term -> training -> ``train`` or ``valid`` -> (epoch, value) pairs.
        best: training -> epoch whose weights were kept; a dot marks it on every line.
    """
    from matplotlib.ticker import MaxNLocator

    columns = min(3 if len(curves) > 6 else 2, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = new_figure(0.5 + 1.65 * rows, columns, rows, sharex=True)
    for ax in axes[len(curves) :]:
        ax.set_axis_off()
    for i, (ax, (term, trainings)) in enumerate(zip(axes, curves.items(), strict=False)):
        for name, parts in trainings.items():
            for part, color in (("train", BLUE), ("valid", ORANGE)):
                _curve(ax, parts.get(part, []), color, best.get(name))
        ax.set_title(shorten(term), fontsize=10, loc="left", color=INK)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        if i + columns >= len(curves):
            ax.set_xlabel("epoch")
            ax.tick_params(labelbottom=True)
    _curve_legend(figure)
    return figure


def _curve(ax: Axes, points: Curve, color: str, best: int | None) -> None:
    if not points:
        return
    epochs, values = np.array(points).T
    alone = len(points) == 1  # a line through one point cannot be seen
    ax.plot(epochs, values, color=color, linewidth=1.1, alpha=0.9, marker="." if alone else None)
    kept = epochs == best
    ax.plot(epochs[kept], values[kept], "o", color=color, markersize=4.5)


def _curve_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color) for color in (BLUE, ORANGE)]
    handles.append(Line2D([], [], color=INK, marker="o", linestyle="none", markersize=4.5))
    texts = ["training", "validation", "epoch that was kept"]
    figure.legend(handles, texts, loc="outside upper left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)


def predicted_against_true(true: Array, predicted: Array, target: str) -> Figure:
    """Return a scatter with the diagonal and, beside it, quantiles of the residual along the true label."""
    figure, (left, right) = new_figure(2.9, 2)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    left.plot(ends, ends, color=INK, linewidth=1)
    left.plot(true, predicted, "o", color=BLUE, markersize=3, alpha=0.6, markeredgewidth=0, rasterized=len(true) > MANY)
    left.set(xlabel=f"true {shorten(target, 20)}", ylabel=f"predicted {shorten(target, 20)}")
    centres, quantiles = residual_quantiles(true, predicted)
    right.axhline(0, color=INK, linewidth=1)
    right.fill_between(centres, quantiles[0], quantiles[4], color=BLUE, alpha=0.22, linewidth=0, label="5–95%")  # noqa: RUF001
    right.fill_between(centres, quantiles[1], quantiles[3], color=BLUE, alpha=0.4, linewidth=0, label="25–75%")  # noqa: RUF001
    right.plot(centres, quantiles[2], color=BLUE, marker=".", label="median")
    right.set(xlabel=f"true {shorten(target, 20)}", ylabel="predicted − true")  # noqa: RUF001
    figure.legend(loc="outside upper right", ncols=3, frameon=False, labelcolor=INK, fontsize=8)
    return figure


def residual_quantiles(true: Array, predicted: Array, bins: int = 8) -> tuple[Array, Array]:
    """Return the mean true label of up to ``bins`` equally filled bins, and (5, bins) quantiles of the residual.

    The quantiles are 5, 25, 50, 75 and 95%. Samples with the same label stay in the same bin.
    """
    _, inverse, counts = np.unique(true, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # rank shared by the samples of one label
    where = (middle / len(true) * bins).astype(int)[inverse]
    groups = [where == b for b in np.unique(where)]
    centres = np.array([true[g].mean() for g in groups])
    residual = predicted - true
    return centres, np.array([np.quantile(residual[g], (0.05, 0.25, 0.5, 0.75, 0.95)) for g in groups]).T


def confusion_matrix(counts: Array, classes: Sequence[str]) -> Figure:
    """Return the (true, predicted) ``counts`` coloured by the share of the true class, with the counts written in."""
    size = len(classes)
    figure, (ax,) = new_figure(1.5 + 0.5 * size)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Opaque, unlike everything else here: text must be legible on every shade, whatever the page.
    ax.imshow(share, cmap=_ramp("#e6eef5", "#0f5f9a"), vmin=0, vmax=1)
    for row, column in np.ndindex(size, size):
        color = "white" if share[row, column] > 0.75 else "#1b1f24"  # where both have a contrast of 4:1
        text = f"{share[row, column]:.0%}\n{counts[row, column]}"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=9 if size < 7 else 7)
    names = [shorten(c, 16) for c in classes]
    turn = sum(map(len, names)) > 34
    ax.set_xticks(range(size), names, rotation=35 if turn else 0, ha="right" if turn else "center")
    ax.set_yticks(range(size), names)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set(xlabel="predicted", ylabel="true")
    return figure


def class_bars(scores: Array, positives: Array, classes: Sequence[str]) -> Figure:
    """Return F1 per class (n,) as bars, with the number of true samples of each class in its name."""
    figure, (ax,) = new_figure(0.7 + 0.3 * len(classes))
    ax.barh(range(len(classes)), scores * 100, color=BLUE, height=0.68)
    for i, value in enumerate(scores * 100):
        ax.text(value + 1, i, f"{value:.1f}", va="center", color=INK, fontsize=9)
    ax.set_yticks(
        range(len(classes)), [f"{shorten(c)} (n = {n})" for c, n in zip(classes, positives.tolist(), strict=True)]
    )
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 110), ylim=(len(classes) - 0.5, -0.5))
    ax.set_xlabel("F1 of the class ↑")
    return figure


def rank_curves(ranks: Array) -> Figure:
    """Return the share of samples with a rank of at most k against k, a line per column of ``ranks`` (samples, 2)."""
    figure, (ax,) = new_figure(2.9)
    places = np.arange(1, len(ranks) + 1)
    for column, color, name in zip(ranks.T, (BLUE, ORANGE), ("anchor to others", "others to anchor"), strict=True):
        shares = np.searchsorted(np.sort(column), places, side="right") / len(ranks)
        ax.step(places, 100 * shares, where="post", color=color, label=name)
    ax.plot(places, 100 * places / len(ranks), color=INK, linestyle=":", linewidth=1, label="chance")
    ax.set(xscale="log", xlabel="k", ylabel="found among the first k (%)", ylim=(0, 102))
    figure.legend(loc="outside upper right", ncols=3, frameon=False, labelcolor=INK, fontsize=8)
    return figure


def projection(points: Array, labels: Array, explained: Sequence[float], target: str, names: Sequence[str]) -> Figure:
    """Return a scatter of ``points`` (n, 2) coloured by label.

    Args:
        labels: (n,) numbers with a colour bar, or class numbers with a legend.
        explained: share of the variance on each axis.
        names: the classes; empty where ``labels`` are numbers.
    """
    figure, (ax,) = new_figure(3.6)
    style: dict[str, Any] = {"linewidths": 0, "rasterized": len(points) > MANY, "s": 12 if len(points) > MANY else 20}
    if names:
        for i, name in enumerate(names):
            color, marker = PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE) % len(MARKERS)]
            x, y = points[labels == i].T
            ax.scatter(x, y, color=color, marker=marker, alpha=0.7, label=shorten(name), **style)
        figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9)
    else:
        x, y = points.T
        dots = ax.scatter(x, y, c=labels, cmap=_ramp(BLUE, "#b9a8b4", ORANGE), **style)
        bar = figure.colorbar(dots, ax=ax)
        bar.set_label(f"true {shorten(target)}", color=INK)
        bar.ax.tick_params(colors=INK, labelsize=9)
        bar.outline.set_visible(False)
    ax.set(xlabel=f"component 1 ({explained[0]:.0%} of variance)", ylabel=f"component 2 ({explained[1]:.0%})")
    return figure


def _ramp(*colors: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("ramp", colors)
