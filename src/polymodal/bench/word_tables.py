"""The tables of a benchmark with words in them: robustness, comparisons, places, entries, what is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from polymodal.bench.against import Standings
from polymodal.bench.board import Board
from polymodal.bench.figures import corpus_info
from polymodal.core import Estimate
from polymodal.core.conditions import present_in
from polymodal.report.metrics import MISSING, arrow, label, write_value
from polymodal.report.rows import write_interval
from polymodal.report.tables import Cell, Table
from polymodal.score.robustness import Robustness


def said_tables(board: Board) -> list[Table]:
    """Return declared comparisons, the entries, and what is left out."""
    made = [contrast_table(board)] if board.contrasts else []
    made.append(entry_table(board))
    return [*made, left_table(board)] if board.left else made


def robustness_tables(board: Board, corpus: str, names: Sequence[str]) -> list[Table]:
    """Return what incomplete input costs each entry, relative to what complete input gains over a blind guess."""
    stood = {s.entry: s.found for s in board.robustness if s.corpus == corpus and s.found.worst}
    if not stood:
        return []
    modalities = corpus_info(board, corpus).modalities
    lines = []
    for name in (n for n in names if n in stood):
        found = stood[name]
        lost = next((d.share.mean for d in found.drops if d.condition == found.worst), math.nan)
        worst = " + ".join(present_in(found.worst or "", modalities))
        lines.append(
            (
                Cell(name),
                _with_interval(found, found.gain),
                Cell(worst, _with_interval(found, found.worst_value).text),
                Cell(f"{lost:.0%}" if math.isfinite(lost) else MISSING),
                _with_interval(found, found.synergy),
                Cell(f"{found.mei.mean:.2f}" if found.mei and math.isfinite(found.mei.mean) else MISSING),
            )
        )
    caption = (
        f"{corpus}: what is lost with modalities. Gain: of complete input over the best guess that sees nothing. Share "
        "lost: of that gain, with the worst subset of modalities. Synergy: complete input over the best single one; "
        "below 0 all together are worse. MEI: 1 where all modalities share the gain evenly, 0 where one brings it."
    )
    head = ("Entry", "Gain", "Worst subset", "Share lost", "Synergy", "MEI")
    return [Table(caption, head, tuple(lines))]


def _ends(metric: str, low: float, high: float) -> str:
    return f"[{write_value(metric, low)}, {write_value(metric, high)}]" if math.isfinite(low) else ""


def _with_interval(found: Robustness, value: Estimate | None) -> Cell:
    if value is None:
        return Cell(MISSING)
    return Cell(write_value(found.metric, value.mean), write_interval(value, found.metric))


def entry_table(board: Board) -> Table:
    """Return what every entry is and how it was set."""
    head = ("Entry", "Method", "Paper", "Settings", "Prior", "Absent modalities")
    lines = []
    for e in board.entries:
        changed = ", ".join(f"{k}={v}" for k, v in e.settings.items())
        settings = "; ".join(filter(None, (e.preset and f"preset {e.preset}", changed))) or "defaults"
        absent = "handled" if e.handles_absence else "fed as zeros"
        kind = "floor" if e.floor else e.prior
        lines.append(tuple(map(Cell, (e.name, e.method, e.paper or MISSING, settings, kind, absent))))
    return Table("The entries and their settings.", head, tuple(lines), words=True)


def contrast_table(board: Board) -> Table:
    """Return every declared comparison."""
    lines = []
    for c in board.contrasts:
        metric = corpus_info(board, c.corpus).metric
        p = [f"{v:.3f}" if math.isfinite(v) else MISSING for v in (c.p, c.p_holm)]
        says = "told apart" if c.told else "not told apart" if c.above_chance else "floor at chance"
        value = Cell(write_value(metric, c.difference), _ends(metric, c.low, c.high))
        words = (c.corpus, c.first, c.second, c.key)
        lines.append((*map(Cell, words), value, *map(Cell, p), Cell(str(c.groups)), Cell(says)))
    head = ("Corpus", "First", "Second", "Compared", "First - second", "p", "p (Holm)", "Groups", "Says")
    return Table(
        "Declared comparisons, 95% interval over groups and seeds in brackets.", head, tuple(lines), words=True
    )


def standings_table(name: str, found: Standings) -> Table:
    """Return the place of a run among the entries of a published board."""
    metric, lines = found.metric, []
    for row in found.rows:
        apart = _ends(metric, row.difference_low, row.difference_high)
        better = (row.difference > 0) is found.higher_is_better
        says = "" if row.own else f"{'ahead of' if better else 'behind'} it" if row.told else "cannot be told"
        lines.append(
            (
                Cell(f"{row.place}"),
                Cell(row.name, "", row.own),
                Cell(write_value(metric, row.mean), _ends(metric, row.low, row.high)),
                Cell(MISSING if row.own else write_value(metric, row.difference), apart),
                Cell(f"{row.p_holm:.3f}" if math.isfinite(row.p_holm) else MISSING),
                Cell(says),
            )
        )
    grouped = f" of {found.groups} groups" if found.groups != found.samples else ""
    caption = (
        f"{name} on {found.corpus}: {label(metric)} {arrow(found.higher_is_better)}, {found.key}, {found.samples} "
        f"samples{grouped}; 95% intervals in brackets, p corrected for the number of entries (Holm)."
    )
    head = ("Place", "Entry", label(metric), "The run - entry", "p", "The run is")
    return Table(caption, head, tuple(lines), words=True)


def left_table(board: Board) -> Table:
    """Return the pairs without figures and why; failures are named as such."""
    lines = tuple(
        (Cell(x.entry), Cell(x.corpus), Cell("failed" if x.failed else "not compatible"), Cell(x.reason))
        for x in board.left
    )
    return Table("Pairs without figures.", ("Entry", "Corpus", "What", "Why"), lines, words=True)
