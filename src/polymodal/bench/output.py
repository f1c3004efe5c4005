"""A board on the terminal, as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from polymodal.bench.board import Board
from polymodal.bench.figures import entry_info
from polymodal.bench.ranks import rankings
from polymodal.bench.tables import board_tables, leaderboard_tables, overall_tables
from polymodal.bench.verdict import board_verdict
from polymodal.bench.word_tables import left_table
from polymodal.report.tables import Cell, Table, to_latex, to_markdown

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

COSTS = ("parameters", "train_seconds", "latency_ms", "memory_mib", "epochs")


def to_terminal(table: Table, width: int) -> list[RichTable]:
    """Return ``table`` for a terminal: small print dimmed below its figure, the best in bold.

    What does not fit into ``width`` characters continues in further tables with the same first column.
    """
    if table.words or not table.lines:
        return [_terminal_table(table, dict.fromkeys(range(len(table.head))))]
    wide = [max(_wide(head, line[i]) for line in table.lines) for i, head in enumerate(table.head)]
    wide[0] = max(len(f"{line[0].text} {line[0].detail}") for line in table.lines)
    pieces: list[list[int]] = []
    for i in range(1, len(table.head)):
        if not pieces or sum(wide[k] + 2 for k in (0, *pieces[-1], i)) > width:
            pieces.append([])
        pieces[-1].append(i)
    return [_terminal_table(table, {i: wide[i] for i in (0, *piece)}) for piece in pieces]


def _wide(head: str, cell: Cell) -> int:
    """Characters that must stay on one line; a head may break at spaces."""
    return max(len(cell.text), len(cell.detail), *map(len, head.split()))


def _terminal_table(table: Table, columns: Mapping[int, int | None]) -> RichTable:
    """Return the ``columns`` of ``table`` (place -> width); None: as wide as there is room for."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, header_style="bold")
    for i, width in columns.items():
        # Broken here, so that only heads are ever broken, and the figures below them never.
        head = "\n".join(textwrap.wrap(table.head[i], width)) if width else table.head[i]
        right = i > 0 and not table.words
        shown.add_column(Text(head), justify="right" if right else "left", no_wrap=width is not None)
    for line in table.lines:
        shown.add_row(*(_terminal_cell(line[i], "\n" if i else " ") for i in columns))
    return shown


def _terminal_cell(cell: Cell, gap: str) -> Text:
    from rich.text import Text

    text = Text(cell.text, "bold" if cell.best else "")
    return text.append(gap + cell.detail, "dim not bold") if cell.detail else text


def print_tables(board: Board, format: Literal["terminal", "markdown", "latex", "csv"]) -> None:
    """Print ``board``: on a terminal what it says, the overall tables and each corpus's leaderboard; all tables as
    Markdown and LaTeX; all figures as CSV, see ``board_csv``."""
    if format == "csv":
        print(board_csv(board), end="")
    elif format == "terminal":
        from rich.text import Text

        from polymodal.data.progress import screen

        console = screen()
        shown = overall_tables(board, rankings(board))
        shown += [table for corpus in board.corpora for table in leaderboard_tables(board, corpus.name)]
        for sentence in board_verdict(board):
            console.print(sentence, markup=False)
        for table in [*shown, left_table(board)] if board.left else shown:
            console.print(Text(f"\n{table.caption}", "italic"), *to_terminal(table, console.width))
    else:
        write = {"markdown": to_markdown, "latex": to_latex}[format]
        print("\n".join(map(write, board_tables(board))), end="")


_CSV_HEAD = (
    *("corpus", "entry", "method", "preset", "prior", "floor", "condition", "series", "value"),
    *("metric", "higher_is_better", "main", "mean", "std", "low", "high", "least", "most", "groups", "count", "seeds"),
)


def board_csv(board: Board) -> str:
    """Return every figure and cost of ``board``, one per line, unrounded; what is unknown is an empty field.

    Costs have the condition ``cost`` and the metrics ``parameters``, ``train_seconds``, ``latency_ms``,
    ``memory_mib`` and ``epochs``.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _CSV_HEAD, restval="", lineterminator="\n")
    writer.writeheader()
    entries = entry_info(board)

    def write(corpus: str, entry: str, values: dict[str, object]) -> None:
        e = entries[entry]
        who = {"method": e.method, "preset": e.preset, "prior": e.prior, "floor": e.floor}
        row = {"corpus": corpus, "entry": entry, **who, **values}
        writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})

    for f in board.figures:
        shared = {name: getattr(f, name) for name in _CSV_HEAD[6:-1]}
        write(f.corpus, f.entry, {**shared, "seeds": ";".join(map(str, f.seeds))})
    for cost in board.costs:
        for metric in COSTS:
            values = {"condition": "cost", "metric": metric, "higher_is_better": False, "main": False}
            write(cost.corpus, cost.entry, {**values, "mean": getattr(cost, metric)})
    return buffer.getvalue()
