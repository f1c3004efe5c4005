"""Tables from scores: one intermediate form, written as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from polymodal.core import Estimate, RunError, nearest
from polymodal.core.text import cell
from polymodal.report.metrics import MISSING, arrow, is_percent, label, of_one_class, write_value
from polymodal.report.rows import Row, score_rows


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, small print such as its interval, and whether it is the best of its column."""

    text: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes:
        caption: one or two sentences.
        head: text of every column's head, the first for the lines' names.
        lines: cells, as many per line as ``head``.
        rows: the unrounded figures behind the cells; empty where they are not those of one evaluation.
        words: cells are words, set from the left, not figures.
    """

    caption: str
    head: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    rows: tuple[Row, ...] = ()
    words: bool = False


def score_table(rows: Sequence[Row], target: str) -> Table:
    """Return metrics x splits of ``target`` with every modality present."""
    kept = [r for r in rows if r.complete and r.target == target]
    counts = _sizes(kept)
    return _pivot(
        kept,
        f"Scores for {target} with every modality present. {_legend(kept)}",
        "Metric",
        line=lambda r: f"{label(r.metric)} {arrow(r.higher_is_better)}",
        column=lambda r: f"{r.split} (n = {counts[r.split]})",
        bold=False,
    )


def subset_table(rows: Sequence[Row], target: str, split: str) -> Table:
    """Return subsets of modalities x metrics of ``target`` on ``split``, from one modality to all."""
    kept = [r for r in _of(rows, target, split) if r.present]
    kept.sort(key=lambda r: len(r.present))
    caption = f"Scores for {target} on {split} by the modalities that were present. {_legend(kept)} Bold: best."
    return _pivot(kept, caption, "Present", line=lambda r: r.subset, column=_metric_head)


def stress_table(rows: Sequence[Row], target: str, split: str) -> Table:
    """Return stresses x metrics of ``target`` on ``split``, complete input first."""
    kept = [r for r in _of(rows, target, split) if r.complete or not r.present]
    caption = (
        f"Scores for {target} on {split} under stress. {_legend(kept)} An area is the mean height of its curve, "
        "complete input included."
    )
    return _pivot(kept, caption, "Stress", line=lambda r: r.stress, column=_metric_head, bold=False)


def _of(rows: Sequence[Row], target: str, split: str) -> list[Row]:
    return [r for r in rows if r.target == target and r.split == split and not of_one_class(r.metric)]


def target_table(rows: Sequence[Row], split: str) -> Table:
    """Return targets x metrics on ``split`` with every modality present."""
    kept = [r for r in rows if r.complete and r.split == split and not of_one_class(r.metric)]
    caption = f"Scores of every target on {split} with every modality present. {_legend(kept)}"
    return _pivot(kept, caption, "Target", line=lambda r: r.target, column=_metric_head, bold=False)


def leaderboard(
    all_scores: Sequence[dict[str, Any]], *, split: str = "test", labels: Sequence[str] | None = None
) -> Table:
    """Return methods x metrics of the first target on ``split``, every modality present, the best in bold.

    Args:
        all_scores: contents of ``scores.json``, one per run.
        labels: what to call each run; None for the names of the methods.

    Raises:
        RunError: a run has no scores on ``split``; two runs have the same label; there are too few or many labels.
    """
    names = [str(s.get("method", "?")) for s in all_scores] if labels is None else list(labels)
    if len(names) != len(all_scores):
        raise RunError(f"{len(names)} labels for {len(all_scores)} runs; give every run one label")
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise RunError(f"two runs are called {sorted(twice)[0]!r}; give every run its own label")
    rows: list[Row] = []
    for scores, name in zip(all_scores, names, strict=True):
        found = score_rows(scores, name=name)
        kept = [r for r in found if r.split == split and r.complete and r.target == found[0].target]
        kept = [r for r in kept if not of_one_class(r.metric)]
        if not kept:
            raise RunError(f"{name} has no scores on split {split!r}{nearest(split, {r.split for r in found})}")
        rows += kept
    caption = " ".join(
        [f"Scores on {split} with every modality present. {_legend(rows)} Bold: best.", *_differences(all_scores, rows)]
    )
    table = _pivot(rows, caption, "Method", line=lambda r: r.method, column=_metric_head)
    main = {r.method: r for r in rows if r.main}
    lines = tuple(
        (*line, Cell(str(r.count)), Cell(str(len(r.seeds))), Cell(r.absence))
        for line, r in zip(table.lines, (main[n] for n in names), strict=True)
    )
    return Table(caption, (*table.head, "n", "Seeds", "Absent modalities"), lines, table.rows)


def _differences(all_scores: Sequence[dict[str, Any]], rows: Sequence[Row]) -> list[str]:
    """Sentences about what makes the runs hard to compare."""
    what = {
        "data (hash)": {s["data"]["hash"] for s in all_scores},
        "target": {r.target for r in rows},
        "number of samples": {r.count for r in rows if r.main},
        "rule of selection": {s["protocol"].get("selection") for s in all_scores},
    }
    return [f"Careful: the runs differ in their {name}." for name, values in what.items() if len(values) > 1]


def _metric_head(row: Row) -> str:
    return f"{label(row.metric)} {arrow(row.higher_is_better)}"


def _legend(rows: Sequence[Row]) -> str:
    seeds = max((len(r.seeds) for r in rows), default=1)
    spread = f"Mean ± standard deviation over {seeds} seeds" if seeds > 1 else "One seed"
    percent = "; shares such as accuracy and F1 in percent" if any(is_percent(r.metric) for r in rows) else ""
    sizes = _sizes(rows)
    grouped = {r.groups for r in rows if r.groups < sizes[r.split]}
    over = f" over {max(grouped)} groups" if grouped else ""
    return f"{spread}, 95% interval{over} in brackets{percent}."


def _pivot(
    rows: Sequence[Row],
    caption: str,
    stub: str,
    *,
    line: Callable[[Row], str],
    column: Callable[[Row], str],
    bold: bool = True,
) -> Table:
    """Arrange ``rows`` by two of their properties, in order of first appearance."""
    lines, columns = list(dict.fromkeys(map(line, rows))), list(dict.fromkeys(map(column, rows)))
    at = {(line(r), column(r)): r for r in rows}
    best = {c: _best([r for r in rows if column(r) == c]) if bold else None for c in columns}
    sizes = _sizes(rows)

    def cell(name: str, head: str) -> Cell:
        row = at.get((name, head))
        if row is None:
            return Cell(MISSING)
        # What reads the same is equally good: compare as written.
        return Cell(row.written, _detail(row, sizes), best[head] == write_value(row.metric, row.mean))

    body = tuple((Cell(name), *(cell(name, head) for head in columns)) for name in lines)
    return Table(caption, (stub, *columns), body, tuple(rows))


def _sizes(rows: Sequence[Row]) -> dict[str, int]:
    """Return split -> number of samples that most metrics look at."""
    return {r.split: max(o.count for o in rows if o.split == r.split) for r in rows}


def _detail(row: Row, sizes: dict[str, int]) -> str:
    """The interval, the number of samples where the metric leaves some out (as Acc-2 does neutral ones), and chance."""
    fewer = f"n = {row.count}" if row.count != sizes[row.split] else ""
    known = row.complete and math.isfinite(row.chance)
    chance = f"chance {write_value(row.metric, row.chance)}" if known else ""
    return ", ".join(filter(None, (row.interval, fewer, chance)))


def _best(rows: Sequence[Row]) -> str | None:
    """The best mean as written; None where there is nothing to compare."""
    known = [r for r in rows if math.isfinite(r.mean)]
    if len(known) < 2:
        return None
    top = max(known, key=lambda r: r.mean if r.higher_is_better else -r.mean)
    return write_value(top.metric, top.mean)


def to_markdown(table: Table) -> str:
    """Return ``table`` as a GitHub-flavoured Markdown table, the caption below it."""

    def cell(c: Cell) -> str:
        text = escape_markdown(c.text)
        return " ".join(filter(None, (f"**{text}**" if c.best else text, c.detail)))

    body = [[cell(c) for c in line] for line in table.lines]
    rule = ["---"] + ["---" if table.words else "---:"] * (len(table.head) - 1)
    lines = [[escape_markdown(h) for h in table.head], rule, *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{escape_markdown(table.caption)}\n"


def escape_markdown(text: str) -> str:
    """Return ``text`` as Markdown shows it, on one line."""
    return _escape(text, _MARKDOWN)


def to_latex(table: Table) -> str:
    """Return ``table`` as a LaTeX ``table`` (needs the package ``booktabs``), the best in bold."""

    def cell(c: Cell) -> str:
        text = _escape(c.text, _LATEX)
        # Braces keep "[" from being read as the optional argument of the "\\\\" before it.
        return " ".join(filter(None, (f"\\textbf{{{text}}}" if c.best else text, c.detail and f"{{{c.detail}}}")))

    body = [" & ".join(cell(c) for c in line) + r" \\" for line in table.lines]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(table.caption, _LATEX)}}}",
            rf"\begin{{tabular}}{{l{('l' if table.words else 'r') * (len(table.head) - 1)}}}",
            r"\toprule",
            " & ".join(_escape(h, _LATEX) for h in table.head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_csv(rows: Sequence[Row]) -> str:
    """Return ``rows`` as CSV, one figure per line, unrounded; NaN is an empty field."""
    buffer = io.StringIO()
    figures = [f.name for f in fields(Estimate)]
    names = [f.name for f in fields(Row) if f.name not in (*figures, "modalities")]
    writer = csv.DictWriter(buffer, [*names, *figures], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {name: getattr(row, name) for name in writer.fieldnames} | {"seeds": ";".join(map(str, row.seeds))}
        writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else cell(v) for k, v in values.items()})
    return buffer.getvalue()


_MARKDOWN = {"\\": "\\\\", "|": "\\|", "*": "\\*", "<": "&lt;", "`": "\\`", "\n": " "}
_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "{}$&#%_"},
    "^": r"\^{}",
    "~": r"\~{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "²": r"$^2$",
    MISSING: "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
}


def _escape(text: str, table: dict[str, str]) -> str:
    # Character by character, so that what one replacement writes is not replaced again.
    return "".join(table.get(c, c) for c in text)
