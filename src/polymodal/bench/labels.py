"""Placing names in plots so that they do not lie on each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polymodal.report.plots import INK, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Box = tuple[float, float, float, float]


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return ``places`` moved as little as needed to be ``gap`` apart, in the same order.

    Neighbours that are too close become a block around their common mean; blocks that then meet are merged.
    """
    order = np.argsort(places, kind="stable")
    blocks: list[list[float]] = []  # sum of where the block's first member wants to be, number of members
    for i in order:
        blocks.append([places[i], 1.0])
        while len(blocks) > 1:
            (before, many), (after, few) = blocks[-2:]
            if after / few - before / many >= gap * many:
                break
            blocks[-2:] = [[before + after - few * many * gap, many + few]]
    moved = [total / count + gap * i for total, count in blocks for i in range(int(count))]
    out = [0.0] * len(places)
    for i, value in zip(order, moved, strict=True):
        out[i] = value
    return out


def name_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]], size: float = 9) -> None:
    """Write names to the right of the axes beside the ends of lines, each with a thin line to its end.

    Args:
        ax: with its final limits and scale; its height is taken from the figure's.
        ends: (name, x, y, colour), all in data coordinates.
        size: of the font in points.
    """
    low, high = ax.get_ylim()
    points = ax.figure.get_figheight() * 72 * 0.78  # type: ignore[union-attr]  # what the layout leaves for the axes
    places = [(y - low) / (high - low) for _, _, y, _ in ends]
    for (name, x, y, color), place in zip(ends, spread(places, size * 1.25 / points), strict=True):
        ax.annotate(
            shorten(name, 16),
            (x, y),
            (1.05, place),
            textcoords="axes fraction",
            color=color,
            fontsize=size,
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.7, "shrinkA": 0, "shrinkB": 1},
            annotation_clip=False,
        )


def name_points(ax: Axes, names: Sequence[str], x: Sequence[float], y: Sequence[float], size: float = 8.5) -> None:
    """Write a name beside each point, where it covers least of the points and of the names before it.

    Args:
        ax: with its final limits, scales and layout: places are computed from where points lie on the page.
        names, x, y: one each per point, in data coordinates.
        size: of the font in points.
    """
    pixels = ax.figure.dpi / 72  # everything else here is in points, so that any resolution can be saved
    at = ax.transData.transform(np.column_stack([x, y])) / pixels
    extent = ax.get_window_extent()
    frame: _Box = (extent.x0 / pixels, extent.y0 / pixels, extent.x1 / pixels, extent.y1 / pixels)
    taken = [_around(px, py) for px, py in at]
    # Whoever has most neighbours chooses first: those at the edge find room anyway.
    crowd = [int((np.hypot(*(at - point).T) < 45).sum()) for point in at]
    for i in sorted(range(len(names)), key=lambda i: -crowd[i]):
        own = (float(at[i, 0]), float(at[i, 1]))
        text = shorten(names[i], 16)
        width, height = 0.58 * len(text) * size, 1.1 * size
        boxes = [_beside(own, dx, dy, width, height) for dx, dy in _PLACES]
        box = min(boxes, key=lambda b: _cost(b, own, taken, frame))
        taken.append(box)
        ax.annotate(
            text,
            (x[i], y[i]),
            (box[0] - own[0], (box[1] + box[3]) / 2 - own[1]),
            textcoords="offset points",
            color=INK,
            fontsize=size,
            va="center",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3},
        )


_PLACES = [
    (dx, dy) for dx, dy in itertools.product((6, -6, 18, -18, 34, -34, 0), range(-60, 61, 10)) if dx or abs(dy) > 5
]


def _around(x: float, y: float) -> _Box:
    return x - 4.0, y - 4.0, x + 4.0, y + 4.0


def _beside(own: tuple[float, float], dx: float, dy: float, width: float, height: float) -> _Box:
    """Return the box of a text that starts ``dx`` right of a point, ends left of it, or for 0 is centred."""
    left = own[0] + dx - (width if dx < 0 else 0 if dx else width / 2)
    return left, own[1] + dy - height / 2, left + width, own[1] + dy + height / 2


def _cost(box: _Box, own: tuple[float, float], taken: Sequence[_Box], frame: _Box) -> float:
    """Covered area in square points, plus what lies outside the frame, plus a little for the distance."""

    def shared(a: _Box, b: _Box) -> float:
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        return max(wide, 0) * max(high, 0)

    area = (box[2] - box[0]) * (box[3] - box[1])
    away = np.hypot(*(np.clip(own, box[:2], box[2:]) - own))
    return float(sum(shared(box, b) for b in taken) + 4 * (area - shared(box, frame)) + away)
