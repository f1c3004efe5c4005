"""The part of a report on raters: how far they agree, and what one of them reaches beside what the run reaches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from polymodal.core import RunError
from polymodal.report.folder import Run
from polymodal.report.metrics import MISSING, arrow, label, scale
from polymodal.report.plots import INK
from polymodal.report.rows import Row, rater_row
from polymodal.report.tables import Cell, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = (
    "Agreement of the raters of {split}, and one rater against what the others say together, with 95% intervals over "
    "groups. A label is what all raters say together, so a system can come closer to it than one person does. "
)
SOFT = (
    "Cross entropy holds predicted probabilities against the shares of raters; their own entropy is the least that "
    "can be reached."
)


def rater_table(run: Run) -> Table | None:
    """Return the table of the split that figures are drawn from; None where single raters are not known.

    Raises:
        RunError: something is missing in the scores.
    """
    found = _found(run, run.split)
    if not found:
        return None
    reached = {(r.target, r.metric): r for r in run.rows if r.split == run.split and r.complete}
    several = len({row.target for row, _ in found}) > 1
    lines = []
    for row, what in found:
        own = reached.get((row.target, row.metric)) if what == "one rater" else None
        people, system = (None, row) if row.metric == "cross_entropy" else (row, own)
        name = label(row.metric) + (f" {arrow(own.higher_is_better)}, one rater" if own else "")
        size = f"{row.count} / {row.groups}"
        lines.append((Cell(f"{row.target}: {name}" if several else name), _cell(people), _cell(system), Cell(size)))
    soft = SOFT if any(what == "soft labels" for _, what in found) else ""
    caption = (ABOUT.format(split=run.split) + soft).rstrip()
    return Table(caption, ("", "Raters", "This run", "Samples or ratings / groups"), tuple(lines))


def one_rater(run: Run) -> Row | None:
    """Return what one rater reaches in the main metric of the main target; None where that is not known."""
    wanted = (row for row, what in _found(run, run.split) if what == "one rater" and row.main)
    return next((row for row in wanted if row.target == run.target.name and math.isfinite(row.mean)), None)


def mark(figure: Figure, row: Row) -> str:
    """Draw ``row`` as a dashed line across the bars of ``figure``; return what the caption says of it."""
    axes, value = figure.axes[0], row.mean * scale(row.metric)
    low, high = axes.get_xlim()
    axes.axvline(value, color=INK, linestyle="--", linewidth=1.2)
    room = 0.02 * (high - low)
    axes.set_xlim(min(low, value - room), max(high, value + room))
    return f" Dashed: one rater against the others, {label(row.metric)} {row.written} {row.interval}".rstrip() + "."


def _found(run: Run, split: str) -> list[tuple[Row, str]]:
    """Return the figures of ``split`` that are about raters, each with what it is."""
    scores: dict[str, Any] = run.scores or {}
    try:
        return [(rater_row(row), str(row["what"])) for row in scores.get("agreement", []) if row["split"] == split]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the scores of {run.name} are incomplete ({error!r}); run polymodal evaluate again") from error


def _cell(row: Row | None) -> Cell:
    return Cell(MISSING) if row is None else Cell(row.written, row.interval)
