"""Finding and naming the figures of a board, the same in tables, plots and sentences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from polymodal.bench.board import Board, CorpusInfo, Entry, Figure
from polymodal.core.conditions import AREA, COMPLETE

_AREA_OF = f"{AREA} of "


def key_of(figure: Figure) -> str:
    """Return what tells the conditions of a corpus apart: ``condition``, and for areas also of which curve."""
    return f"{_AREA_OF}{figure.series}" if figure.condition == AREA else figure.condition


def area_key(series: str) -> str:
    """Return the key of the area under the curve of ``series``."""
    return f"{_AREA_OF}{series}"


def is_area(key: str) -> bool:
    """Whether ``key`` is that of an area."""
    return key.startswith(_AREA_OF)


def main_figures(board: Board, corpus: str) -> dict[str, dict[str, Figure]]:
    """Return condition's key -> entry -> figure of the main metric on ``corpus``, in order of first appearance."""
    found: dict[str, dict[str, Figure]] = {}
    for figure in board.figures:
        if figure.corpus == corpus and figure.main:
            found.setdefault(key_of(figure), {})[figure.entry] = figure
    return found


def series_of(board: Board, corpus: str) -> list[str]:
    """Return the curves of ``corpus`` in order of first appearance."""
    return list(dict.fromkeys(f.series for f in board.figures if f.corpus == corpus and f.main and f.series))


def points(main: dict[str, dict[str, Figure]], series: str) -> list[str]:
    """Return the keys of the curve's points, least damage first."""
    at = {
        key: next(iter(found.values())).value
        for key, found in main.items()
        if not is_area(key) and next(iter(found.values())).series == series
    }
    return sorted(at, key=lambda key: at[key], reverse=falls(series))


def falls(series: str) -> bool:
    """Whether damage grows as the number falls, as with a signal-to-noise ratio."""
    return option_of(series) == "snr"


def option_of(series: str) -> str:
    """Return the option that the curve is over: ``rate`` of ``missing:rate``."""
    return series.replace(":", ",").rpartition(",")[2]


def subsets(main: dict[str, dict[str, Figure]]) -> list[str]:
    """Return the keys of incomplete subsets of modalities, fewest modalities first."""
    found = [key for key in main if key.startswith("subset:")]
    return sorted(found, key=lambda key: key.count(","))


def others(main: dict[str, dict[str, Figure]]) -> list[str]:
    """Return the keys of conditions that are on no curve: single stresses."""
    return [
        k for k, f in main.items() if k != COMPLETE and k not in subsets(main) and not next(iter(f.values())).series
    ]


def title_of(key: str) -> str:
    """Return a condition as a reader wants it: ``subset:text,audio`` is ``text + audio``."""
    return key.removeprefix("subset:").replace(",", " + ") if key.startswith("subset:") else key


def headline(board: Board, corpus: str) -> str:
    """Return the key that entries are ordered by: the area under the first curve that has one, else complete input."""
    found = main_figures(board, corpus)
    return next((area_key(s) for s in series_of(board, corpus) if area_key(s) in found), COMPLETE)


def order(board: Board, corpus: str) -> list[str]:
    """Return the entries that have figures on ``corpus``, best first by ``headline``; NaN comes last."""
    main = main_figures(board, corpus)
    known = {name for found in main.values() for name in found}
    top = main.get(headline(board, corpus), {})

    def place(name: str) -> tuple[bool, float]:
        figure = top.get(name)
        if figure is None or not math.isfinite(figure.mean):
            return True, 0.0
        return False, -figure.mean if figure.higher_is_better else figure.mean

    return sorted((e.name for e in board.entries if e.name in known), key=place)


def mean_figure(figures: list[Figure]) -> Figure | None:
    """Return the mean over conditions of one entry: seed by seed, so that it has a deviation but no interval.

    None where a condition is unknown or has other seeds.
    """
    if not figures or any(not math.isfinite(f.mean) or len(f.seeds) != len(figures[0].seeds) for f in figures):
        return None
    first, seeds = figures[0], np.mean([f.seeds for f in figures], axis=0)
    return replace(
        first,
        condition="mean of subsets",
        series="",
        value=math.nan,
        mean=float(np.mean([f.mean for f in figures])),
        std=float(np.std(seeds)),
        seeds=tuple(map(float, seeds)),
        low=math.nan,
        high=math.nan,
        least=math.nan,
        most=math.nan,
    )


def corpus_info(board: Board, corpus: str) -> CorpusInfo:
    """Return the corpus called ``corpus``."""
    return next(c for c in board.corpora if c.name == corpus)


def entry_info(board: Board) -> dict[str, Entry]:
    """Return name -> entry."""
    return {e.name: e for e in board.entries}
