"""From the predictions of all cells to the figures of a board."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.bench.board import AREA, Board, Contrast, CorpusInfo, Cost, Entry, Figure, Left
from polymodal.bench.contrasts import Side, contrasts_on, corrected
from polymodal.bench.figures import area_key
from polymodal.bench.job import Cell, Outcome, read_cell
from polymodal.bench.plan import FLOOR, BenchPlan, EntryPlan
from polymodal.core import Measure, Target
from polymodal.methods import find_method, method_id
from polymodal.score import (
    Blocks,
    area_measures,
    summarise_tables,
    tables_by_seed,
)
from polymodal.score.intervals import FEW
from polymodal.stress import COMPLETE, Point, conditions, curve_places, sweeps
from polymodal.train.predictions import FILE, column, read_table
from polymodal.train.run import Run

Array = np.ndarray[Any, Any]
Tables = list[dict[str, Measure]]
"""Measures of one condition, one table per seed."""

SUMMARY = ("mean", "std", "low", "high", "count", "seeds", "groups", "least", "most")


@dataclass(frozen=True)
class Results:
    """An entry on a corpus: condition -> measures; test samples dealt by their groups; their labels."""

    entry: EntryPlan
    runs: list[Run]
    tables: dict[str, Tables]
    blocks: Blocks
    true: Array


def collect(
    plan: BenchPlan, outcomes: Sequence[tuple[Cell, Outcome]], made: dict[str, Any], say: Callable[[], None]
) -> Board:
    """Return the board of all cells that have results.

    Args:
        say: called after each entry on each corpus.
    """
    corpora, figures, costs, contrasts, left = [], [], [], [], []
    for name, sources in plan.corpora.items():
        found: list[Results] = []
        for entry in plan.entries:
            cells = [(c, o) for c, o in outcomes if c.entry == entry and c.corpus == name]
            reasons = [o for _, o in cells if o.run is None]
            if reasons:
                worst = max(reasons, key=lambda o: o.failed)
                left.append(Left(entry.name, name, worst.reason, worst.failed))
            elif cells:
                results = _read(plan, entry, sources, cells)
                found.append(results)
                figures += _figures(plan, name, results)
                costs.append(_cost(name, entry, [o.run for _, o in cells if o.run], len(plan.seeds)))
            say()
        if found:
            corpora.append(_info(name, sources, found[0].runs))
            contrasts += _contrasts(plan, name, found)
    return Board(
        title=plan.title,
        seeds=plan.seeds,
        notes=tuple(_notes(plan)),
        made=made,
        corpora=tuple(corpora),
        entries=tuple(_entry(entry) for entry in plan.entries),
        figures=tuple(figures),
        costs=tuple(costs),
        contrasts=tuple(corrected(contrasts)),
        left=tuple(left),
    )


def _read(plan: BenchPlan, entry: EntryPlan, sources: Sequence[str], cells: Sequence[tuple[Cell, Outcome]]) -> Results:
    """Return the measures of an entry: seeds side by side, the test samples of folds pooled."""
    place = {(c.source, c.seed): o.run for c, o in cells}
    runs = [Run.load(place[s, plan.seeds[0]]) for s in sources]  # type: ignore[arg-type]
    target = runs[0].schema.joint_targets[0]
    columns = {seed: _pooled([place[s, seed] for s in sources], target) for seed in plan.seeds}
    tables = {}
    for condition in (point.text for point in conditions(runs[0].schema, plan.stress, subsets=plan.subsets)):
        parts = [columns[seed][condition] for seed in plan.seeds]
        shares = [p["probability"] for p in parts] if "probability" in parts[0] else None
        tables[condition] = tables_by_seed(target, parts[0]["true"], [p["predicted"] for p in parts], shares)
    whole = columns[plan.seeds[0]][COMPLETE]
    return Results(entry, runs, tables, Blocks.of(len(whole["true"]), whole.get("group")), whole["true"])


def _pooled(folders: Sequence[Path | None], target: Target) -> dict[str, dict[str, Array]]:
    """Return condition -> columns of one seed, in an order that does not depend on the entry."""
    names = {part: f"{target.name}/{part}" for part in ("true", "predicted", "probability")} | {"group": "group"}
    pooled: dict[str, list[dict[str, Array]]] = {}
    for folder in folders:
        table = read_table(Path(str(folder)) / FILE)
        keys, ids = column(table, "condition"), column(table, "id")
        values = {p: column(table, n) for p, n in names.items() if n in table.column_names}
        for condition in dict.fromkeys(keys.tolist()):
            rows = np.flatnonzero(keys == condition)
            rows = rows[np.argsort(ids[rows], kind="stable")]
            pooled.setdefault(condition, []).append({p: v[rows] for p, v in values.items()})
    return {key: {p: np.concatenate([c[p] for c in parts]) for p in parts[0]} for key, parts in pooled.items()}


def _figures(plan: BenchPlan, corpus: str, results: Results) -> list[Figure]:
    target = results.runs[0].schema.joint_targets[0]
    points = {point.text: point for point in sweeps(plan.stress)}
    found = []
    for condition, tables in results.tables.items():
        point = points.get(condition)
        place = (condition, point.series, point.value) if point else (condition, "", math.nan)
        found += _rows(results, corpus, target, tables, place)
    for series, areas in curves(plan, results).items():
        found += _rows(results, corpus, target, areas, (AREA, series, math.nan))
    return found


def _rows(
    results: Results,
    corpus: str,
    target: Target,
    tables: Tables,
    place: tuple[str, str, float],
) -> list[Figure]:
    main, better = target.spec.main, target.spec.metrics
    summaries = summarise_tables(tables, results.blocks)
    condition, series, value = place
    return [
        Figure(
            entry=results.entry.name,
            corpus=corpus,
            condition=condition,
            series=series,
            value=value,
            metric=metric,
            higher_is_better=better[metric],
            main=metric == main,
            **{k: getattr(s, k) for k in SUMMARY},
        )
        for metric, s in summaries.items()
    ]


def curves(plan: BenchPlan, results: Results) -> dict[str, Tables]:
    """Return the area under each curve that has one: series -> measures per seed."""
    by_series: dict[str, list[Point]] = {}
    for point in sweeps(plan.stress):
        by_series.setdefault(point.series, []).append(point)
    areas = {}
    for series, points in by_series.items():
        places = curve_places(series, [p.value for p in points], len(results.runs[0].schema.names))
        if places is None:
            continue
        names = [p.text for p in points]
        names = ["complete", *names] if len(places) > len(names) else names
        tables = [results.tables[name] for name in names]
        areas[series] = [area_measures(places, [t[seed] for t in tables]) for seed in range(len(plan.seeds))]
    return areas


def _contrasts(plan: BenchPlan, corpus: str, found: Sequence[Results]) -> list[Contrast]:
    """Return the declared comparisons on a corpus, in what its entries are ordered by."""
    areas = [curves(plan, r) for r in found]
    series = next((s for s in areas[0] if all(s in a for a in areas)), None)
    whole = [r.tables[COMPLETE] for r in found]
    tops = [a[series] for a in areas] if series else whole
    sides = {r.entry.name: Side(t, w, r.blocks, r.true) for r, t, w in zip(found, tops, whole, strict=True)}
    floor = next((e.name for e in plan.entries if e.method == FLOOR), "")
    target = found[0].runs[0].schema.joint_targets[0]
    return contrasts_on(corpus, area_key(series) if series else COMPLETE, target, sides, plan.contrasts, floor)


def _cost(corpus: str, entry: EntryPlan, folders: Sequence[Path], seeds: int) -> Cost:
    cells = [read_cell(folder) or {} for folder in folders]
    memory = [c["memory_mib"] for c in cells if c["memory_mib"] is not None]
    return Cost(
        entry=entry.name,
        corpus=corpus,
        parameters=cells[0]["parameters"],
        train_seconds=sum(c["seconds"] for c in cells) / seeds,
        latency_ms=float(np.median([c["latency_ms"] for c in cells])),
        # The lowest: the first cell of a process also pays for what libraries load once.
        memory_mib=min(memory, default=math.nan),
        epochs=float(np.mean([c["epochs"] for c in cells])),
    )


def _info(name: str, sources: Sequence[str], runs: Sequence[Run]) -> CorpusInfo:
    target = runs[0].schema.joint_targets[0]
    about = [run.config["data"] for run in runs]
    return CorpusInfo(
        name=name,
        sources=tuple(sources),
        hashes=tuple(a["hash"] for a in about),
        modalities=runs[0].schema.names,
        target=target.name,
        task=target.task,
        metric=target.spec.main,
        higher_is_better=target.spec.metrics[target.spec.main],
        sizes={split: sum(a["sizes"].get(split, 0) for a in about) for split in about[0]["sizes"]},
    )


def _entry(plan: EntryPlan) -> Entry:
    kind = find_method(plan.method)
    return Entry(
        name=plan.name,
        method=method_id(kind),
        paper=kind.paper,
        preset=plan.preset,
        settings=plan.options | {n: e for n, e in (("encoder", plan.encoder), ("encode", plan.encode)) if e},
        aware=plan.aware,
        floor=plan.method == FLOOR,
        handles_absence=kind.handles_absence,
    )


def _notes(plan: BenchPlan) -> list[str]:
    seeds = ", ".join(map(str, plan.seeds))
    search = (
        f"Hyper-parameters: {plan.search.trials} trials of Optuna for every entry and corpus, chosen by the validation "
        f"loss of seed {plan.seeds[0]}, the entry's own settings first."
        if plan.search.trials
        else "Hyper-parameters: the presets as they are, no search."
    )
    return [
        f"Mean over the seeds {seeds} with the population standard deviation over them.",
        f"Intervals: 95% of the mean over seeds, over groups of test samples (samples where none are known) and over "
        f"seeds; below {FEW} groups the range over groups stands in their place.",
        "The epoch with the lowest validation task loss is tested; the test split chooses nothing.",
        search,
        "Stress acts on standardised features, the same masks for every entry: a sample's mask follows from its id "
        "and the training seed.",
        "Areas: under the line through the points (trapezoids, complete input at 0), divided by the width. With two "
        "modalities a missing rate ends at 0.5, where one of them is left; with three at 0.667.",
        "Where a corpus comes in folds, their test samples are pooled.",
        "Training time is that of one seed (all folds), with as many trainings side by side as the board says; latency "
        "is of one sample alone, features to prediction.",
    ]
