"""A timeline as a figure: predictions with intervals or probabilities, contributions, presence, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.predict.panels import (
    LEFT,
    RIGHT,
    WIDTH,
    fitting,
    literal,
    panels,
    plain_axes,
    rectangles,
    rooms,
    spans_of,
    time_axis,
    titled,
    worded,
    words_panel,
    write_figure,
)
from polymodal.predict.remarks import SILENT
from polymodal.predict.timeline import Timeline
from polymodal.report.plots import BLUE, INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WARNING = "#c1272d"
"""Colour of what is unlike the training data."""

ANSWERED = {"large": ("#5b3a8c", "large model's answer"), "both": ("#b79fd6", "both models' answers")}
"""Colours and labels of what another model than the small one of a cascade answered."""

ASKED_IN_VAIN = "large model gave no answer"

CLASS_PALETTE = ("#cc6677", "#5f70c2", "#b9a73c", "#2f8f50", "#6bb3d6", "#a63f7a", "#44aa99", "#93972f", "#b355a5")
"""Colours of classes, after Paul Tol's muted scheme: none is that of a modality."""


def timeline_plot(timeline: Timeline, path: str | Path) -> Path:
    """Draw ``timeline`` and return ``path``; the same timeline gives the same bytes.

    Per target, a panel with the prediction over time (with its interval, or the probabilities of classes) stands above
    one with a lane per modality: bars upwards raise the prediction, bars downwards lower it, hatching is where the
    modality is absent. Words are written where they fit.

    Args:
        timeline: what ``Predictor.predict`` returned.
        path: file to write, ending in .png, .svg or .pdf.

    Raises:
        OptionError: another ending.
        DataError: the file cannot be written.
    """
    return write_figure(figure(timeline), Path(path))


def figure(timeline: Timeline) -> Figure:
    """Return the figure of ``timeline_plot``."""
    data = timeline.to_dict()
    data["utterances"].sort(key=lambda u: u["start"])
    spans = spans_of(data)
    telling = worded(data, spans)
    heights = [0.3] * telling
    for target in data["targets"]:
        lanes = len(target["classes"]) if target["answer"] == "classes" else 0
        heights += [0.3 * lanes + 0.2 if lanes else 1.7, 0.42 * len(data["modalities"])]
    drawn, axes = panels(heights)
    if telling:
        words_panel(axes.pop(0), data, spans)
    for target in data["targets"]:
        _target(axes.pop(0), data, target, spans)
        _contributions(axes.pop(0), data, target, spans)
    time_axis(drawn.axes[-1], data, spans)
    titled(drawn, f"{data['clip']}: {data['method']} of {data['run']}")
    return drawn


def _target(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    plain_axes(ax)
    draw = {"number": _values, "class": _stack, "classes": _lanes}[target["answer"]]
    draw(ax, data, target, spans)
    _remarks(ax, data, target, spans)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=8, frameon=False, labelcolor=INK, fontsize=8,
                  borderaxespad=0.1, handlelength=1.2, columnspacing=1.2)  # fmt: skip
    ax.set_ylabel(fitting(target["name"], 20), color=INK, fontsize=10)
    ax.yaxis.set_label_coords((0.2 - LEFT) / (WIDTH - LEFT - RIGHT), 0.5)


def _remarks(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    """Hatch where the run is silent, draw a line above what is unlike training, and one below what was passed on."""
    low, high = ax.get_ylim()
    pairs = list(zip(data["utterances"], spans, strict=True))
    silent = [span for u, span in pairs if u["estimates"][target["name"]].get("abstained")]
    unlike = [span for u, span in pairs if u.get("unlike", {}).get("alarm")]
    if silent:
        boxes = [(a, b, low, high) for a, b in silent]
        rectangles(ax, boxes, facecolors="none", edgecolors=INK, hatch="xxx", alpha=0.5, label=SILENT)
    if unlike:
        boxes = [(a, b, high - 0.04 * (high - low), high) for a, b in unlike]
        rectangles(ax, boxes, facecolors=WARNING, label="unlike training")
    routed = [(u["estimates"][target["name"]].get("cascade"), span) for u, span in pairs]
    if not any(route for route, _ in routed):
        return
    floor, edge = low - 0.07 * (high - low), low - 0.03 * (high - low)
    for by, (colour, text) in ANSWERED.items():
        boxes = [(a, b, floor, edge) for route, (a, b) in routed if route and route["by"] == by]
        if boxes:
            rectangles(ax, boxes, facecolors=colour, label=text)
    if lost := [(a, b, floor, edge) for route, (a, b) in routed if route and route["stage"] == "failed"]:
        rectangles(ax, lost, facecolors="none", edgecolors=ANSWERED["large"][0], label=ASKED_IN_VAIN)
    ax.set_ylim(floor, high)


def _values(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    every = [u["estimates"][target["name"]] for u in data["utterances"]]
    joined = [math.nan if e.get("abstained") else e["value"] for e in every for _ in "ab"]
    times = [t for span in spans for t in span]
    found = [e for e in every if not e.get("abstained")]
    spans = [span for e, span in zip(every, spans, strict=True) if not e.get("abstained")]
    starts, ends = [s for s, _ in spans], [e for _, e in spans]
    known = [(a, b, e["low"], e["high"]) for e, (a, b) in zip(found, spans, strict=True) if e["low"] is not None]
    values = [e["value"] for e in found]
    if known:
        rectangles(ax, known, facecolors=BLUE, alpha=0.28, label=f"{data['level']:.0%} interval")
    based = [(e["baseline"], *span) for e, span in zip(found, spans, strict=True) if e["baseline"] is not None]
    if based:
        ax.hlines(*zip(*based, strict=True), color=INK, linestyle=":", linewidth=1, label="baseline")
    ax.plot(times, joined, color=BLUE, alpha=0.4, linewidth=0.8)
    ax.hlines(values, starts, ends, color=BLUE, linewidth=2.2, label="prediction")
    ax.axhline(0, color=INK, linewidth=0.8)
    low, high = target["range"] or (min([0.0, *values]), max([0.0, *values]))
    spare = 0.04 * (high - low)  # for lines at the very ends of the scale
    ax.set_ylim(min([low, *values]) - spare, max([high, low + 1e-6, *values]) + spare)
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.grid(axis="y", color=INK, alpha=0.25)


def _stack(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    found = [u["estimates"][target["name"]] for u in data["utterances"]]
    level = [0.0] * len(found)
    for i, name in enumerate(target["classes"]):
        boxes = []
        for n, (e, (a, b)) in enumerate(zip(found, spans, strict=True)):
            # A class that was named without probabilities is all that is known.
            share = float(e["label"] == name) if e["probabilities"] is None else e["probabilities"][name]
            boxes.append((a, b, level[n], level[n] + share))
            level[n] = boxes[-1][3]
        rectangles(ax, boxes, facecolors=CLASS_PALETTE[i % len(CLASS_PALETTE)], label=literal(name))
    for e, (a, b), room in zip(found, spans, rooms(spans, data), strict=True):
        text = fitting(SILENT if e.get("abstained") else e["label"], room)
        ax.text((a + b) / 2, 1.04, text, ha="center", va="bottom", color=INK, fontsize=8)
    ax.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    ax.set_ylim(0, 1.2)


def _lanes(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    names = target["classes"]
    for i, name in enumerate(names):
        chances = [u["estimates"][target["name"]]["probabilities"][name] for u in data["utterances"]]
        floor = len(names) - 1 - i
        boxes = [(a, b, floor, floor + 0.8 * p) for p, (a, b) in zip(chances, spans, strict=True)]
        rectangles(ax, boxes, facecolors=CLASS_PALETTE[i % len(CLASS_PALETTE)])
        ax.axhline(
            floor + 0.4, color=INK, linewidth=0.6, linestyle=":", label=None if i else "a probability of one half"
        )
    ax.set_yticks([len(names) - 1 - i + 0.4 for i in range(len(names))], [fitting(n, 13) for n in names])
    ax.set_ylim(-0.05, len(names))


def _contributions(
    ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]
) -> None:
    plain_axes(ax)
    names = data["modalities"]
    found = [_shares(u["estimates"][target["name"]]) for u in data["utterances"]]
    most = max([1e-6, *(abs(v) for shares in found for v in shares.values())])
    for i, name in enumerate(names):
        middle = len(names) - 0.5 - i
        bars = [
            (a, b, middle, middle + 0.42 * shares[name] / most)
            for shares, (a, b) in zip(found, spans, strict=True)
            if name in shares
        ]
        gone = [
            (a, b, middle - 0.42, middle + 0.42)
            for u, (a, b) in zip(data["utterances"], spans, strict=True)
            if name not in u["present"]
        ]
        rectangles(ax, bars, facecolors=PALETTE[i % len(PALETTE)])
        rectangles(ax, gone, facecolors="none", edgecolors=INK, hatch="////", alpha=0.6)
        ax.axhline(middle, color=INK, linewidth=0.8)
    absent = [
        f"{fitting(n, 8)} (absent)" if not any(n in u["present"] for u in data["utterances"]) else fitting(n, 16)
        for n in names
    ]
    ax.set_yticks([len(names) - 0.5 - i for i in range(len(names))], absent)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(0, len(names))
    of = "the prediction" if target["answer"] == "number" else "the probability of the likeliest class"
    title = f"contributions to {of}, up to ±{most:.3g}; hatched: absent"
    ax.set_title(title, loc="left", color=INK, fontsize=8, pad=3)


def _shares(estimate: dict[str, Any]) -> dict[str, float]:
    """Return modality -> contribution to the value, or to the probability of the likeliest class."""
    shares = estimate["contributions"]
    if not isinstance(estimate["baseline"], dict):
        return dict(shares)
    chances = estimate["probabilities"]
    best = max(chances, key=chances.__getitem__)
    return {name: parts[best] for name, parts in shares.items()}
