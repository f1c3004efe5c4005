"""The frame of a figure over time: panels above each other, words, the axis of time; the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core import OptionError
from polymodal.predict.files import write_whole
from polymodal.report.plots import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def write_figure(drawn: Figure, path: Path) -> Path:
    """Write a figure and return ``path``; the same figure gives the same bytes.

    Raises:
        OptionError: the path does not end in .png, .svg or .pdf.
        DataError: the file cannot be written.
    """
    import matplotlib

    changing = SUFFIXES.get(path.suffix.lower())
    if changing is None:
        raise OptionError(f"cannot draw {path.name}: give a name that ends in {', '.join(SUFFIXES)}")
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "polymodal"}):
        drawn.savefig(buffer, format=path.suffix[1:].lower(), dpi=160, metadata={changing: None})
    return write_whole(path, buffer.getvalue())


def panels(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
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


def titled(drawn: Figure, text: str) -> None:
    """Write the title of a figure."""
    drawn.text(0.01, 1 - 0.08 / drawn.get_figheight(), literal(text), color=INK, fontsize=10, va="top")


def worded(data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> bool:
    """Return whether there are words, and room for them."""
    return any(room > 6 for room in rooms(spans, data)) and any(u["text"] for u in data["utterances"])


def timed(data: dict[str, Any]) -> bool:
    """Whether there are times: predictions from features have none, and stand in their order."""
    return data["duration"] > 0 or any(u["end"] > 0 for u in data["utterances"])


def spans_of(data: dict[str, Any]) -> list[tuple[float, float]]:
    """Return start and end of each utterance; their numbers where there are no times."""
    told = data["utterances"]
    return [(u["start"], u["end"]) for u in told] if timed(data) else [(i, i + 1.0) for i in range(len(told))]


def end_of(data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> float:
    """Return where the axis ends."""
    return max([data["duration"], 0.1, *(end for _, end in spans)])


def rooms(spans: Sequence[tuple[float, float]], data: dict[str, Any]) -> list[int]:
    """Return how many letters fit into each utterance."""
    inches = (WIDTH - LEFT - RIGHT) / end_of(data, spans)
    return [int((end - start) * inches / LETTER) for start, end in spans]


def plain_axes(ax: Axes) -> None:
    """Draw axes with a left spine only, in a colour for light and dark paper."""
    ax.set_facecolor("none")
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(INK)
    ax.tick_params(colors=INK, labelsize=9)
    ax.tick_params(axis="x", length=0)


def literal(text: str) -> str:
    """Return ``text`` without formulas."""
    return text.replace("$", r"\$")


def fitting(text: str, room: int) -> str:
    """Return as much of ``text`` as ``room`` letters hold; empty where that says nothing."""
    if len(text) <= room:
        return literal(text)
    return literal(text[: room - 1].rstrip() + "…") if room > 4 else ""


def rectangles(ax: Axes, boxes: Sequence[Box], **style: Any) -> None:
    """Draw rectangles as one collection: a long clip has thousands."""
    from matplotlib.collections import PolyCollection

    corners = [[(a, low), (b, low), (b, high), (a, high)] for a, b, low, high in boxes]
    ax.add_collection(PolyCollection(corners, **{"linewidths": 0, **style}))


def words_panel(ax: Axes, data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    """Write what is said in each utterance, where it fits."""
    plain_axes(ax)
    ax.spines["left"].set_visible(False)
    ax.set(yticks=[], ylim=(0, 1))
    rectangles(ax, [(a, b, 0, 0.08) for a, b in spans], facecolors=INK)
    for u, (start, end), room in zip(data["utterances"], spans, rooms(spans, data), strict=True):
        ax.text((start + end) / 2, 0.5, fitting(u["text"], room), ha="center", va="center", color=INK, fontsize=8)


def time_axis(ax: Axes, data: dict[str, Any], spans: Sequence[tuple[float, float]]) -> None:
    """Write minutes and seconds, or the numbers of rows, below the last panel."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    end = end_of(data, spans)
    ax.set_xlim(0, end)
    ax.set_xlabel("min:s" if timed(data) else "row", color=INK, fontsize=9)
    step = next((s for s in STEPS if end / s <= 9), None)
    ax.xaxis.set_major_locator(MaxNLocator(9) if step is None else FixedLocator([i * step for i in range(10)]))
    if timed(data):
        digits = 1 if end < 4 else 0
        width = 4 if digits else 2
        ax.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t // 60)}:{t % 60:0{width}.{digits}f}"))
