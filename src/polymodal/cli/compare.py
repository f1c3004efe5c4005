"""``polymodal compare``."""

from __future__ import annotations

from typing import Any, Literal

from polymodal.cli.text import print_json
from polymodal.core.conditions import COMPLETE

EXAMPLES = {
    "compare": """\
  polymodal compare runs/linear-mosi runs/mmcl-mosi
  polymodal compare runs/mine --against benchmarks/results/board
  polymodal compare runs/* --format markdown > table.md
  polymodal compare runs/* --split test_ood --plot comparison.png --json"""
}

Format = Literal["terminal", "markdown", "latex", "csv"]


def compare(
    runs: list[str],
    *,
    against: str | None = None,
    split: str = "test",
    metric: str | None = None,
    format: Format = "terminal",
    plot: str | None = None,
    json: bool = False,
) -> int:
    """Print one table for several runs on the same data, and paired tests of every other run against the first.

    Runs that were not evaluated yet are evaluated first.

    Args:
        runs: run folders; the first is what the others are compared with
        against: folder of a published board; every run is placed among its entries
        split: test split
        metric: metric of the paired tests; default the main one
        format: of the table
        plot: PNG to write the main metric with intervals to
        json: print table and tests as JSON
    """
    from polymodal.core.estimate import plain
    from polymodal.report import comparison_plot, leaderboard, to_csv, to_latex, to_markdown
    from polymodal.train.compare import load_scores, paired_tests
    from polymodal.train.run import Run

    opened = [Run.load(r) for r in runs]
    if against:
        return _against(opened, against, json)
    scores = [load_scores(r) for r in opened]
    labels = _labels(opened)
    table = leaderboard(scores, split=split, labels=labels)
    tests = paired_tests(opened, split=split, metric=metric)
    if plot:
        comparison_plot(table.rows).savefig(plot, dpi=150)
    if json:
        rows = [r for s, label in zip(scores, labels, strict=True) for r in _rows(s, label, split)]
        print_json({"split": split, "rows": rows, "tests": plain(tests)})
    elif format == "csv":
        print(to_csv(table.rows), end="")
    elif format == "latex":
        print(to_latex(table))
    else:
        print(to_markdown(table)) if format == "markdown" else _print_table(table)
        for test in tests:
            print(test.sentence)
    return 0


def _against(runs: list[Any], folder: str, json: bool) -> int:
    """Print the place of each run among the entries of a published board."""

    from rich.text import Text

    from polymodal.bench.against import standings
    from polymodal.bench.output import to_terminal
    from polymodal.bench.published import Published
    from polymodal.bench.word_tables import standings_table
    from polymodal.core.estimate import plain
    from polymodal.data.progress import screen

    published = Published.load(folder)
    found = {str(run.path): standings(run, published) for run in runs}
    if json:
        print_json(plain(found))
        return 0
    console = screen()
    for path, each in found.items():
        for one in each:
            table = standings_table(path, one)
            console.print(Text(table.caption, "italic"), *to_terminal(table, console.width))
        for warning in each[0].warnings:
            console.print(f"warning: {warning}", soft_wrap=True, markup=False)
    return 0


def _labels(runs: list[Any]) -> list[str]:
    """Return the method's name where that tells runs apart, else the folder's, else the path."""
    choices = ([r.config["method"] for r in runs], [r.path.name for r in runs], [str(r.path) for r in runs])
    return next((c for c in choices if len(set(c)) == len(c)), choices[-1])


def _rows(scores: dict[str, Any], label: str, split: str) -> list[dict[str, Any]]:
    return [{"run": label, **row} for row in scores["rows"] if row["split"] == split and row["condition"] == COMPLETE]


def _print_table(table: Any) -> None:
    """Print metrics as lines and runs as columns: a terminal is narrower than a paper."""
    from rich.markup import escape
    from rich.table import Table

    from polymodal.data.progress import screen

    out = Table(box=None, header_style="bold")
    out.add_column("")
    for line in table.lines:
        out.add_column(escape(line[0].text), justify="right")
    for index, head in enumerate(table.head[1:], start=1):
        cells = [line[index] for line in table.lines]
        texts = [escape(f"{c.text} {c.detail}".rstrip()) for c in cells]
        out.add_row(head, *(f"[bold]{t}[/bold]" if c.best else t for t, c in zip(texts, cells, strict=True)))
    console = screen()
    console.print(out)
    console.print(table.caption, markup=False)
