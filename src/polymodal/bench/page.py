"""A benchmark for readers: one self-contained HTML page, Markdown, LaTeX, CSV, and its plots as PNG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.bench import plots, radar
from polymodal.bench.board import Board
from polymodal.bench.figures import COMPLETE, area_key, corpus_info, headline, main_figures, series_of
from polymodal.bench.output import board_csv
from polymodal.bench.ranks import ENOUGH, Ranking, rankings
from polymodal.bench.tables import corpus_tables, overall_tables
from polymodal.bench.verdict import MANY, board_verdict, corpus_verdict
from polymodal.bench.word_tables import entry_table, left_table
from polymodal.report.metrics import label, long_name
from polymodal.report.page import png_bytes, svg_address, write_whole
from polymodal.report.tables import Table, escape_markdown, to_latex, to_markdown
from polymodal.report.templates import read_template
from polymodal.stress import Prior

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """A figure with its file name, the figure in words, and what it shows."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Part:
    """One section of page and Markdown: the first table in full, the others for who wants the details."""

    name: str
    title: str
    lead: str
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]


def write_board(board: Board, folder: Path) -> dict[str, Path]:
    """Write ``leaderboard.{html,md,tex,csv}`` and ``plots/*.png`` into ``folder``; each whole or not at all.

    Returns:
        ``html``, ``md``, ``tex``, ``csv`` and ``plots/NAME`` -> the file.

    Raises:
        RunError: something cannot be written.
    """
    folder = Path(folder)
    parts = board_parts(board)
    tables = [table for part in parts for table in part.tables]
    contents = {
        "csv": board_csv(board).encode(),
        "tex": "\n".join(map(to_latex, tables)).encode(),
        "md": _markdown(board, parts).encode(),
        "html": _page(board, parts).encode(),
    }
    files = {}
    for plot in (p for part in parts for p in part.plots):
        files[f"plots/{plot.name}"] = folder / "plots" / f"{plot.name}.png"
        write_whole(files[f"plots/{plot.name}"], png_bytes(plot.figure))
    for suffix, content in contents.items():
        files[suffix] = folder / f"leaderboard.{suffix}"
        write_whole(files[suffix], content)
    return files


def board_parts(board: Board) -> list[Part]:
    """Return every section in reading order."""
    ranks = rankings(board)
    plots_overall = tuple(_rank_plot(board, ranking) for ranking in ranks if len(ranking.names) > 1)
    parts = [Part("overall", "All corpora", "", plots_overall, tuple(overall_tables(board, ranks)))]
    for corpus in board.corpora:
        sizes = ", ".join(f"{n} {split}" for split, n in corpus.sizes.items())
        lead = f"{corpus.target} ({corpus.task}) from {', '.join(corpus.modalities)}; samples: {sizes}."
        if len(board.corpora) >= MANY:
            lead = " ".join([lead, *corpus_verdict(board, corpus.name)])
        tables = tuple(corpus_tables(board, corpus.name))
        parts.append(Part(_slug(corpus.name), corpus.name, lead, _corpus_plots(board, corpus.name), tables))
    parts.append(Part("entries", "Entries", "", (), (entry_table(board),)))
    if board.left:
        parts.append(Part("left-out", "Left out", "", (), (left_table(board),)))
    return parts


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


_PRIORS: dict[Prior | None, str] = {
    None: "",
    "none": "Entries that were trained on complete samples only. ",
    "own": "Entries whose method drops modalities or steps in training. ",
    "told": "Entries that were trained on samples with something taken away. ",
}


def _rank_plot(board: Board, ranking: Ranking) -> Plot:
    words = ", ".join(f"{n} {r:.2f}" for n, r in zip(ranking.names, ranking.ranks, strict=True))
    p = f"{ranking.p:.2g}" if ranking.p >= 0.001 else "below 0.001"
    known = f"Friedman test that all are equal: p = {p}. " if ranking.p == ranking.p else ""
    bars = (
        f"Bars join entries that differ by less than Nemenyi's critical difference ({ranking.difference:.2f} at 5%). "
    )
    tested = bars + known if ranking.difference == ranking.difference else f"Below {ENOUGH} corpora nothing is tested."
    gone = f" Not ranked, for want of a figure on some corpus: {', '.join(ranking.unranked)}."
    return Plot(
        f"ranks-{ranking.prior}" if ranking.prior else "ranks",
        plots.rank_diagram(board, ranking),
        f"Average ranks: {words}.",
        f"{_PRIORS[ranking.prior]}Average rank over {', '.join(ranking.corpora)}, one rank each by what their entries "
        f"are ordered by. {tested}" + (gone if ranking.unranked else ""),
    )


def _corpus_plots(board: Board, corpus: str) -> tuple[Plot, ...]:
    main, slug = main_figures(board, corpus), _slug(corpus)
    made = []
    for series in series_of(board, corpus):
        made.append(_curve(board, corpus, series))
        area = main.get(area_key(series))
        if area:
            made.append(
                Plot(
                    f"{slug}-{_slug(series)}-area",
                    plots.area_plot(board, corpus, series),
                    f"Area under {series} on {corpus}: {plots.spell(area)}.",
                    f"{corpus}: mean height of the {series} curve (the area under it over its width), best on top, "
                    "with 95% intervals over groups of test samples; strokes: single seeds; dashed: the floor.",
                )
            )
    return (*made, *_radar(board, corpus), *_costs(board, corpus))


def _curve(board: Board, corpus: str, series: str) -> Plot:
    main = main_figures(board, corpus)
    shown = plots.highlighted(board, corpus)
    hardest = {n: f for n, f in main[plots.points(main, series)[-1]].items() if n in shown}
    return Plot(
        f"{_slug(corpus)}-{_slug(series)}",
        plots.curve_plot(board, corpus, series),
        f"Curves along {series} on {corpus}; at the hardest point: {plots.spell(hardest)}.",
        f"{corpus}: {label(corpus_info(board, corpus).metric)} along {series}. Coloured: the first by "
        f"{headline(board, corpus)}; dashed: the floor; grey: all others. Bands: 95% intervals of the best entry made "
        "for absence, the best plain one, and the floor.",
    )


def _radar(board: Board, corpus: str) -> list[Plot]:
    figure = radar.radar(board, corpus)
    if figure is None:
        return []
    words = "; ".join(
        f"{name}: {', '.join(f'{v:.2f}' for v in radar.relative(board, corpus, name))}"
        for name in plots.highlighted(board, corpus, radar.FEW)
    )
    axes = ", ".join(radar.radar_axes(board, corpus))
    metric = corpus_info(board, corpus)
    ratio = "score over best" if metric.higher_is_better else "best over score"
    return [
        Plot(
            f"{_slug(corpus)}-radar",
            figure,
            f"Radar over {axes}. {words}.",
            f"{corpus}: robustness. Every axis is {long_name(metric.metric)} as a ratio, {ratio}, where best is the "
            "best of any entry on complete input: 1 is as good as that, 0.5 half as good. The centre is not 0 (see "
            "the rings). Of each curve its hardest point.",
        )
    ]


def _costs(board: Board, corpus: str) -> list[Plot]:
    found = []
    for cost in ("train_seconds", "latency_ms"):
        figure = plots.cost_plot(board, corpus, cost)
        if figure is not None:
            key = headline(board, corpus)
            what = "complete input" if key == COMPLETE else key
            found.append(
                Plot(
                    f"{_slug(corpus)}-{cost.replace('_', '-')}",
                    figure,
                    f"Scatter of {what} against {plots.COST_LABELS[cost]} on {corpus}; the figures are in the table.",
                    f"{corpus}: {what} against {plots.COST_LABELS[cost]}, log scale. The line joins entries that no "
                    "other beats in both.",
                )
            )
    return found


def _markdown(board: Board, parts: list[Part]) -> str:
    blocks = [f"# {escape_markdown(board.title)}", "\n".join(f"- {escape_markdown(s)}" for s in board_verdict(board))]
    for part in parts:
        blocks += [f"## {escape_markdown(part.title)}", escape_markdown(part.lead)]
        blocks += [to_markdown(table) for table in part.tables[:1]]
        blocks += [
            f"![{escape_markdown(p.alt)}](plots/{p.name}.png)\n\n{escape_markdown(p.caption)}" for p in part.plots
        ]
        blocks += [to_markdown(table) for table in part.tables[1:]]
    blocks += ["## How it was made", "\n".join(f"- {escape_markdown(n)}" for n in board.notes)]
    blocks.append("\n".join(f"- {escape_markdown(f'{name}: {value}')}" for name, value in _made(board)))
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n"


def _page(board: Board, parts: list[Part]) -> str:
    return read_template("polymodal.bench", "polymodal.report").render(
        board=board, parts=parts, verdict=board_verdict(board), made=_made(board), svg=svg_address
    )


def _made(board: Board) -> list[tuple[str, str]]:
    """Return how the board was made, one line per fact, and one per later call that added entries."""
    first = [(name, str(value)) for name, value in board.made.items() if name != "added"]
    later = [
        ", ".join(f"{name} {value}" for name, value in call.items() if value != "")
        for call in board.made.get("added", [])
    ]
    return first + [("added", line) for line in later]
