"""What an audit found, drawn: a dot for each figure, a line for its interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from polymodal.audit.base import Evidence
from polymodal.report.plots import BLUE, INK, new_figure, plain_text, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 16
"""Figures that are drawn; with more of them a plot is higher than a screen, and the table has all."""


def parts_of(evidence: Sequence[Evidence]) -> list[tuple[str, list[Evidence]]]:
    """Return (heading, lines) of each part, in order."""
    return [(part, list(lines)) for part, lines in groupby(evidence, key=lambda line: line.part)]


def drawn(evidence: Sequence[Evidence]) -> list[tuple[str, list[Evidence]]]:
    """Return the first parts, whole, as many as are drawn; of a single long part its first lines."""
    kept: list[tuple[str, list[Evidence]]] = []
    for part, lines in parts_of(evidence):
        room = MOST - sum(len(found) for _, found in kept)
        if kept and len(lines) > room:
            break
        kept.append((part, lines[:room]))
    return kept


def named(line: Evidence) -> str:
    """Return the name of a line below the heading of its part, without what the heading says already."""
    heading = line.part.partition(": ")[2]
    return line.what.removesuffix(f": {heading}") if heading else line.what


def audit_figure(evidence: Sequence[Evidence]) -> Figure:
    """Return one panel per part, its lines from top to bottom, each with an axis of its own."""
    parts = drawn(evidence)
    sizes = [len(lines) for _, lines in parts]
    figure, axes = new_figure(
        0.55 * len(parts) + 0.22 * sum(sizes), rows=len(parts), height_ratios=[s + 1 for s in sizes]
    )
    for ax, (part, lines) in zip(axes, parts, strict=True):
        for row, line in enumerate(lines):
            if line.low is not None and line.high is not None:
                ax.plot([line.low, line.high], [row, row], color=BLUE, linewidth=2.5, alpha=0.45, solid_capstyle="butt")
            ax.plot([line.value], [row], "o", color=BLUE, markersize=5)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(lines)), [shorten(named(line), 48) for line in lines], fontsize=8.5)
        ax.set_ylim(len(lines) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=8)
        ax.grid(axis="x", color=INK, alpha=0.2, linewidth=0.6)
        ax.spines["left"].set_visible(False)
        unit = lines[0].unit
        if part or unit:
            heading = f"{part} ({unit})" if part and unit else part or unit
            ax.set_title(" ", fontsize=9.5)  # room for a heading that begins where names do, and is as wide as they
            above = ax.annotate(
                plain_text(heading), (0.01, 1), (0, 6), ("figure fraction", "axes fraction"), "offset points",
                fontsize=9.5, color=INK,
            )  # fmt: skip
            above.set_in_layout(False)
    figure.align_ylabels(axes)
    return figure


def in_words(evidence: Sequence[Evidence]) -> str:
    """Return what ``audit_figure`` shows, for those who cannot see it."""
    said = []
    for part, lines in drawn(evidence):
        values = "; ".join(f"{line.what} {line.value:.3f}" for line in lines)
        said.append(f"{part}: {values}" if part else values)
    return f"{'. '.join(said)}."
