"""Measures as a figure: a panel each, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.measure.result import Measured
from polymodal.predict.panels import (
    LEFT,
    RIGHT,
    WIDTH,
    fitting,
    panels,
    plain_axes,
    rectangles,
    spans_of,
    time_axis,
    titled,
    worded,
    words_panel,
    write_figure,
)
from polymodal.report.plots import INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 0.62
"""Inches of a panel."""


def measures_plot(measured: Measured, path: str | Path) -> Path:
    """Draw the measures of a clip and return ``path``; the same measures give the same bytes.

    A measure that is known nowhere has no panel. Hatching is where it is not known.

    Args:
        path: file to write, ending in .png, .svg or .pdf.

    Raises:
        OptionError: another ending.
        DataError: the file cannot be written.
    """
    return write_figure(figure(measured), Path(path))


def figure(measured: Measured) -> Figure:
    """Return the figure of ``measures_plot``."""
    data = measured.view()
    spans = spans_of(data)
    known = [m for m in measured.measures if any(v[m.name] is not None for v in measured.values)]
    telling = worded(data, spans)
    drawn, axes = panels([*([0.3] * telling), *([HEIGHT] * max(1, len(known)))])
    if telling:
        words_panel(axes.pop(0), data, spans)
    for i, (ax, measure) in enumerate(zip(axes, known, strict=False)):
        values = [v[measure.name] for v in measured.values]
        said = measure.name.replace("_", " ") + (f" ({measure.unit})" if measure.unit else "")
        _panel(ax, spans, values, measured.reach(measure), said, PALETTE[i % len(PALETTE)])
    time_axis(axes[-1], data, spans)
    titled(drawn, measured.clip)
    return drawn


def _panel(
    ax: Axes,
    spans: Sequence[tuple[float, float]],
    values: Sequence[float | None],
    reach: tuple[float, float],
    said: str,
    color: Any,
) -> None:
    from matplotlib.ticker import MaxNLocator

    plain_axes(ax)
    told = [(a, b, v) for (a, b), v in zip(spans, values, strict=True) if v is not None]
    heights = [v for _, _, v in told]
    spare = 0.04 * (reach[1] - reach[0])  # for lines at the very ends of the scale
    low, high = min([reach[0], *heights]) - spare, max([reach[1], *heights]) + spare
    gone = [(a, b, low, high) for (a, b), v in zip(spans, values, strict=True) if v is None]
    rectangles(ax, gone, facecolors="none", edgecolors=INK, hatch="////", alpha=0.4)
    ax.hlines(heights, [a for a, _, _ in told], [b for _, b, _ in told], color=color, linewidth=2.2)
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    ax.grid(axis="y", color=INK, alpha=0.25)
    room = int((WIDTH - LEFT - RIGHT) / 0.066)
    ax.set_title(fitting(said, room), loc="left", color=INK, fontsize=8, pad=3)
