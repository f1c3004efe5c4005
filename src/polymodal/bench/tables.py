"""The tables of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from polymodal.bench.board import Board, Cost, Figure
from polymodal.bench.figures import (
    COMPLETE,
    area_key,
    corpus_info,
    entry_info,
    headline,
    main_figures,
    mean_figure,
    option_of,
    order,
    others,
    points,
    series_of,
    subsets,
    title_of,
)
from polymodal.bench.ranks import Ranking, rankings
from polymodal.bench.word_tables import robustness_tables, said_tables
from polymodal.report.metrics import MISSING, arrow, is_percent, label, of_one_class, write_value
from polymodal.report.rows import write_interval
from polymodal.report.tables import Cell, Table

WIDEST = 7
"""Columns of figures that a table may have: more cannot be read on a page of code hosting or paper."""


@dataclass(frozen=True)
class _Column:
    """Cells of one column by entry; an entry without one gets a dash."""

    head: str
    cells: Mapping[str, Cell]


def board_tables(board: Board) -> list[Table]:
    """Return all tables: the overall ones, those of each corpus, the entries, and what is left out."""
    made = overall_tables(board, rankings(board))
    for corpus in board.corpora:
        made += corpus_tables(board, corpus.name)
    return made + said_tables(board)


def overall_tables(board: Board, ranks: Sequence[Ranking]) -> list[Table]:
    """Return mean ranks beside complete input and areas of every corpus, best rank first, a ranking under the other."""
    cells = {}
    for ranking in ranks:
        best, among = min(ranking.ranks, default=math.nan), f"of {len(ranking.names)} {ranking.prior or ''}".rstrip()
        for name, value in zip(ranking.names, ranking.ranks, strict=True):
            cells[name] = Cell(f"{value:.2f}", among if len(ranks) > 1 else "", f"{value:.2f}" == f"{best:.2f}")
    rank = _Column("Mean rank ↓", cells)
    names = [*(n for r in ranks for n in r.names), *(n for r in ranks for n in r.unranked)]
    series = list(dict.fromkeys(s for c in board.corpora for s in series_of(board, c.name)))
    apart = "; what training knew of absence is ranked apart" if len(ranks) > 1 else ""
    legend = (
        f"{_legend(board)} Mean rank over {len(ranks[0].corpora)} corpora, one rank each; entries that lack one are "
        f"not ranked{apart}. Bold: best."
    )
    groups = [(key, _across(board, key)) for key in (COMPLETE, *map(area_key, series))]
    tables: list[Table] = []
    for keys, columns in _packed([(key, columns) for key, columns in groups if columns], WIDEST - 1):
        caption = f"All corpora: {', '.join(keys)}. {legend}"
        tables.append(_table(caption, names, [rank, *columns], board, mark=not tables))
    return tables


def _across(board: Board, key: str) -> list[_Column]:
    """Return a column per corpus that has the condition ``key``."""
    columns = []
    for corpus in board.corpora:
        found = main_figures(board, corpus.name).get(key)
        if found:
            what = label(corpus.metric) if key == COMPLETE else key
            columns.append(_figure_column(f"{corpus.name}: {what} {arrow(corpus.higher_is_better)}", found, False))
    return columns


def _packed(groups: Sequence[tuple[str, list[_Column]]], room: int) -> list[tuple[list[str], list[_Column]]]:
    """Put whole groups beside each other while they fit into ``room``; one that is wider is cut."""
    packed: list[tuple[list[str], list[_Column]]] = []
    for key, columns in groups:
        if packed and len(packed[-1][1]) + len(columns) <= room:
            packed[-1][0].append(key)
            packed[-1][1].extend(columns)
        else:
            packed += [([key], columns[i : i + room]) for i in range(0, len(columns), room)]
    return packed


def corpus_tables(board: Board, corpus: str) -> list[Table]:
    """Return the leaderboard of one corpus, then other metrics, subsets, curves and single stresses in detail."""
    main, names = main_figures(board, corpus), order(board, corpus)
    info = corpus_info(board, corpus)
    what = f"{label(info.metric)} {arrow(info.higher_is_better)}"
    best = "Best first by " + headline(board, corpus)
    tables = leaderboard_tables(board, corpus)
    for title, columns in (
        ("other metrics, complete input", _other_metrics(board, corpus)),
        (f"{what} by the modalities that are present", _columns(main, subsets(main))),
        *((f"{what} along {s}", _points(main, s)) for s in series_of(board, corpus)),
        (f"{what} under single stresses", _columns(main, others(main))),
    ):
        parts = _packed([(title, columns)], WIDEST)
        for number, (_, part) in enumerate(parts, 1):
            which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
            tables.append(_table(f"{corpus}: {title}{which}. {best}; bold: best.", names, part, board))
    tables[1:1] = robustness_tables(board, corpus, names)
    return tables


def leaderboard_tables(board: Board, corpus: str) -> list[Table]:
    """Return the leaderboard of one corpus: scores and costs in one table, or in two where that is too wide."""
    main, names, info = main_figures(board, corpus), order(board, corpus), corpus_info(board, corpus)
    caption = (
        f"{corpus}: {label(info.metric)} {arrow(info.higher_is_better)} of {info.target}. {_legend(board, corpus)} "
        f"Best first by {headline(board, corpus)}."
    )
    by_entry = {n: mean_figure([main[k][n] for k in subsets(main) if n in main[k]]) for n in names}
    complete = {n: f for n, f in by_entry.items() if f and all(n in main[k] for k in subsets(main))}
    scores = [_figure_column(COMPLETE, main.get(COMPLETE, {}), True)]
    if complete:
        scores.append(_figure_column("mean of subsets", complete, True))
    areas = [area_key(s) for s in series_of(board, corpus) if area_key(s) in main]
    scores += [_figure_column(key, main[key], True) for key in areas]
    costs = _cost_columns([c for c in board.costs if c.corpus == corpus])
    detail = f"{caption} 95% interval in brackets; an area is the mean height of its curve. Bold: best."
    if len(scores) + len(costs) <= WIDEST + 1:
        return [_table(f"{detail} {_COST_LEGEND}" if costs else detail, names, scores + costs, board, mark=True)]
    return [
        _table(detail, names, scores, board, mark=True),
        _table(f"{corpus}: what each entry costs. {_COST_LEGEND}", names, costs, board),
    ]


_COST_LEGEND = (
    "Training: wall clock of one seed; latency: one sample alone on one thread, median; memory: highest of training."
)


def _cost_columns(costs: Sequence[Cost]) -> list[_Column]:
    writers: dict[str, Callable[[Cost], Cell]] = {
        "Parameters": lambda c: Cell(f"{c.parameters:,}"),
        "Training": lambda c: Cell(write_seconds(c.train_seconds)),
        "Latency": lambda c: Cell(_number(c.latency_ms, "ms")),
        "Memory": lambda c: Cell(_number(c.memory_mib, "MiB")),
    }
    columns = [_Column(head, {c.entry: write(c) for c in costs}) for head, write in writers.items() if costs]
    asked = {c.entry: Cell(f"{c.escalated:.0%}") for c in costs if math.isfinite(c.escalated)}
    return [*columns, _Column("Asks the large one", asked)] if asked else columns


def write_seconds(value: float) -> str:
    """Return a duration with the unit that suits it; NaN as a dash."""
    if not math.isfinite(value):
        return MISSING
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _number(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return MISSING
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.2g} {unit}" if value < 10 else f"{value:.1f} {unit}"


def _other_metrics(board: Board, corpus: str) -> list[_Column]:
    found: dict[str, dict[str, Figure]] = {}
    for f in board.figures:
        if f.corpus == corpus and f.condition == COMPLETE and not f.main and not of_one_class(f.metric):
            found.setdefault(f.metric, {})[f.entry] = f
    return [
        _figure_column(f"{label(m)} {arrow(next(iter(at.values())).higher_is_better)}", at, False)
        for m, at in found.items()
    ]


def _columns(main: dict[str, dict[str, Figure]], keys: Sequence[str]) -> list[_Column]:
    return [_figure_column(title_of(key), main[key], False) for key in keys]


def _points(main: dict[str, dict[str, Figure]], series: str) -> list[_Column]:
    """Return a column per point of a curve; its head has the number only, as the caption names the curve."""
    option = option_of(series)
    found = [main[key] for key in points(main, series)]
    return [_figure_column(f"{option}={next(iter(at.values())).value:g}", at, False) for at in found]


def _figure_column(head: str, found: Mapping[str, Figure], interval: bool) -> _Column:
    best = _best(list(found.values()))
    return _Column(
        head, {n: Cell(_value(f), write_interval(f) if interval else "", _is(f, best)) for n, f in found.items()}
    )


def _value(figure: Figure) -> str:
    text = write_value(figure.metric, figure.mean)
    spread = len(figure.seeds) > 1 and math.isfinite(figure.mean) and math.isfinite(figure.std)
    return f"{text} ± {write_value(figure.metric, figure.std)}" if spread else text


def _best(figures: Sequence[Figure]) -> str | None:
    known = [f for f in figures if math.isfinite(f.mean)]
    if len(known) < 2:
        return None
    top = max(known, key=lambda f: f.mean if f.higher_is_better else -f.mean)
    return write_value(top.metric, top.mean)


def _is(figure: Figure, best: str | None) -> bool:
    # What reads the same is equally good: compare as written.
    return best is not None and write_value(figure.metric, figure.mean) == best


def _legend(board: Board, corpus: str | None = None) -> str:
    spread = f"Mean ± standard deviation over {len(board.seeds)} seeds" if len(board.seeds) > 1 else "One seed"
    chosen = [c.metric for c in board.corpora if corpus in (None, c.name)]
    percent = "; shares such as accuracy and F1 in percent" if any(map(is_percent, chosen)) else ""
    return f"{spread}{percent}."


def _table(caption: str, names: Sequence[str], columns: Sequence[_Column], board: Board, mark: bool = False) -> Table:
    """Put ``columns`` side by side; ``mark``: say which entries are the floor or made for absence."""
    entries = entry_info(board)

    def kind(name: str) -> str:
        return "(floor)" if entries[name].floor else f"({entries[name].prior})" if entries[name].aware else ""

    stub = {name: Cell(name, kind(name) if mark else "") for name in names}
    lines = tuple((stub[n], *(c.cells.get(n, Cell(MISSING)) for c in columns)) for n in names)
    if mark:
        caption += (
            " floor: the linear model; own: the method drops modalities or steps in training; told: trained on samples "
            "with something taken away."
        )
    return Table(caption, ("Entry", *(c.head for c in columns)), lines)
