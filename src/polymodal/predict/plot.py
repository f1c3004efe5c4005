"""A timeline as a figure: predictions with intervals or probabilities, contributions, presence, words."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core import OptionError
from polymodal.predict.files import write_whole
from polymodal.predict.timeline import Timeline
from polymodal.report.plots import BLUE, INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASS_PALETTE = ("#cc6677", "#5f70c2", "#b9a73c", "#2f8f50", "#6bb3d6", "#a63f7a", "#44aa99", "#93972f", "#b355a5")
"""Colours of classes, after Paul Tol's muted scheme: none is that of a modality."""
SUFFIXES = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}
"""Endings of files that can be written, and what in them would change from run to run."""
WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 9.0, 1.2, 0.25, 0.62, 0.55, 0.34
"""Inches: the figure, its margins, and what is between two panels."""
LETTER = 0.066
"""Inches that a letter of the small font takes, about."""
STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Seconds, or rows, between two ticks."""
Box = tuple[float, float, float, float]
"""Left, right, bottom, top."""


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
    import matplotlib

    path = Path(path)
    changing = SUFFIXES.get(path.suffix.lower())
    if changing is None:
        raise OptionError(f"cannot draw {path.name}: give a name that ends in {', '.join(SUFFIXES)}")
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "polymodal"}):
        figure(timeline).savefig(buffer, format=path.suffix[1:].lower(), dpi=160, metadata={changing: None})
    return write_whole(path, buffer.getvalue())


def figure(timeline: Timeline) -> Figure:
    """Return the figure of ``timeline_plot``."""
    data = timeline.to_dict()
    data["utterances"].sort(key=lambda u: u["start"])
    spans = _spans(data)
    worded = any(room > 6 for room in _rooms(spans, data)) and any(u["text"] for u in data["utterances"])
    heights = [0.3] * worded
    for target in data["targets"]:
        lanes = len(target["classes"]) if target["answer"] == "classes" else 0
        heights += [0.3 * lanes + 0.2 if lanes else 1.7, 0.42 * len(data["modalities"])]
    drawn, axes = _panels(heights)
    if worded:
        _words(axes.pop(0), data, spans)
    for target in data["targets"]:
        _target(axes.pop(0), data, target, spans)
        _contributions(axes.pop(0), data, target, spans)
    _time(drawn.axes[-1], data, spans)
    title = _plain(f"{data['clip']}: {data['method']} of {data['run']}")
    drawn.text(0.01, 1 - 0.08 / drawn.get_figheight(), title, color=INK, fontsize=10, va="top")
    return drawn


def _panels(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, top to bottom, ``heights`` inches high.

    Places are computed, not found by a solver: those of matplotlib differ in the last bit from run to run.
    """
    from matplotlib.figure import Figure

    height = sum(heights) + GAP * (len(heights) - 1) + TOP + BOTTOM
    drawn = Figure(figsize=(WIDTH, height), facecolor="none")
    place = {"left": LEFT / WIDTH, "right": 1 - RIGHT / WIDTH, "top": 1 - TOP / height, "bottom": BOTTOM / height}
    place["hspace"] = GAP * len(heights) / sum(heights)
    axes = drawn.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights, gridspec_kw=place)
    return drawn, list(axes.flat)


def _timed(data: dict[str, Any]) -> bool:
    """Whether there are times: predictions from features have none, and stand in their order."""
    return data["duration"] > 0 or any(u["end"] > 0 for u in data["utterances"])


def _spans(data: dict[str, Any]) -> list[tuple[float, float]]:
    told = data["utterances"]
    return [(u["start"], u["end"]) for u in told] if _timed(data) else [(i, i + 1.0) for i in range(len(told))]


def _end(data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> float:
    return max([data["duration"], 0.1, *(end for _, end in spans)])


def _rooms(spans: Sequence[tuple[float, float]], data: dict[str, Any]) -> list[int]:
    """Return how many letters fit into each utterance."""
    inches = (WIDTH - LEFT - RIGHT) / _end(data, spans)
    return [int((end - start) * inches / LETTER) for start, end in spans]


def _axes(ax: Axes) -> None:
    ax.set_facecolor("none")
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(INK)
    ax.tick_params(colors=INK, labelsize=9)
    ax.tick_params(axis="x", length=0)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def _fitting(text: str, room: int) -> str:
    if len(text) <= room:
        return _plain(text)
    return _plain(text[: room - 1].rstrip() + "…") if room > 4 else ""


def _boxes(ax: Axes, boxes: Sequence[Box], **style: Any) -> None:
    """Draw rectangles as one collection: a long clip has thousands."""
    from matplotlib.collections import PolyCollection

    corners = [[(a, low), (b, low), (b, high), (a, high)] for a, b, low, high in boxes]
    ax.add_collection(PolyCollection(corners, **{"linewidths": 0, **style}))


def _words(ax: Axes, data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    _axes(ax)
    ax.spines["left"].set_visible(False)
    ax.set(yticks=[], ylim=(0, 1))
    _boxes(ax, [(a, b, 0, 0.08) for a, b in spans], facecolors=INK)
    for u, (start, end), room in zip(data["utterances"], spans, _rooms(spans, data), strict=True):
        ax.text((start + end) / 2, 0.5, _fitting(u["text"], room), ha="center", va="center", color=INK, fontsize=8)


def _target(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    _axes(ax)
    draw = {"number": _values, "class": _stack, "classes": _lanes}[target["answer"]]
    draw(ax, data, target, spans)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=8, frameon=False, labelcolor=INK, fontsize=8,
                  borderaxespad=0.1, handlelength=1.2, columnspacing=1.2)  # fmt: skip
    ax.set_ylabel(_fitting(target["name"], 20), color=INK, fontsize=10)
    ax.yaxis.set_label_coords((0.2 - LEFT) / (WIDTH - LEFT - RIGHT), 0.5)


def _values(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    found = [u["estimates"][target["name"]] for u in data["utterances"]]
    starts, ends = [s for s, _ in spans], [e for _, e in spans]
    known = [(a, b, e["low"], e["high"]) for e, (a, b) in zip(found, spans, strict=True) if e["low"] is not None]
    values = [e["value"] for e in found]
    if known:
        _boxes(ax, known, facecolors=BLUE, alpha=0.28, label=f"{data['level']:.0%} interval")
    ax.hlines([e["baseline"] for e in found], starts, ends, color=INK, linestyle=":", linewidth=1, label="baseline")
    ax.plot(
        [t for span in spans for t in span], [v for v in values for _ in "ab"], color=BLUE, alpha=0.4, linewidth=0.8
    )
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
            boxes.append((a, b, level[n], level[n] + e["probabilities"][name]))
            level[n] = boxes[-1][3]
        _boxes(ax, boxes, facecolors=CLASS_PALETTE[i % len(CLASS_PALETTE)], label=_plain(name))
    for e, (a, b), room in zip(found, spans, _rooms(spans, data), strict=True):
        text = _fitting(e["label"], room)
        ax.text((a + b) / 2, 1.04, text, ha="center", va="bottom", color=INK, fontsize=8)
    ax.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    ax.set_ylim(0, 1.2)


def _lanes(ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    names = target["classes"]
    for i, name in enumerate(names):
        chances = [u["estimates"][target["name"]]["probabilities"][name] for u in data["utterances"]]
        floor = len(names) - 1 - i
        boxes = [(a, b, floor, floor + 0.8 * p) for p, (a, b) in zip(chances, spans, strict=True)]
        _boxes(ax, boxes, facecolors=CLASS_PALETTE[i % len(CLASS_PALETTE)])
        ax.axhline(
            floor + 0.4, color=INK, linewidth=0.6, linestyle=":", label=None if i else "a probability of one half"
        )
    ax.set_yticks([len(names) - 1 - i + 0.4 for i in range(len(names))], [_fitting(n, 13) for n in names])
    ax.set_ylim(-0.05, len(names))


def _contributions(
    ax: Axes, data: dict[str, Any], target: dict[str, Any], spans: Sequence[tuple[float, float]]
) -> None:
    _axes(ax)
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
            for shares, (a, b) in zip(found, spans, strict=True)
            if name not in shares
        ]
        _boxes(ax, bars, facecolors=PALETTE[i % len(PALETTE)])
        _boxes(ax, gone, facecolors="none", edgecolors=INK, hatch="////", alpha=0.6)
        ax.axhline(middle, color=INK, linewidth=0.8)
    absent = [
        f"{_fitting(n, 8)} (absent)" if not any(n in shares for shares in found) else _fitting(n, 16) for n in names
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


def _time(ax: Axes, data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    end = _end(data, spans)
    ax.set_xlim(0, end)
    ax.set_xlabel("min:s" if _timed(data) else "row", color=INK, fontsize=9)
    step = next((s for s in STEPS if end / s <= 9), None)
    ax.xaxis.set_major_locator(MaxNLocator(9) if step is None else FixedLocator([i * step for i in range(10)]))
    if _timed(data):
        digits = 1 if end < 4 else 0
        width = 4 if digits else 2
        ax.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t // 60)}:{t % 60:0{width}.{digits}f}"))
