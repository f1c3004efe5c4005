"""From the predictions of all cells to the figures of a board."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from polymodal.bench.board import Board, Contrast, CorpusInfo, Cost, Entry, Left, Searched, Stood
from polymodal.bench.contrasts import Side, contrasts_on, corrected
from polymodal.bench.job import Cell, Outcome, read_cell
from polymodal.bench.plan import FLOOR, BenchPlan, EntryPlan
from polymodal.bench.published import Published
from polymodal.bench.results import Results, headlines, pooled
from polymodal.cascade.folder import is_cascade, read_cascade
from polymodal.cascade.models import small_run
from polymodal.core import Schema
from polymodal.methods import find_method, method_id
from polymodal.score.intervals import FEW
from polymodal.stress import COMPLETE, Prior, named, prior
from polymodal.train.run import Run


def collect(
    plan: BenchPlan,
    outcomes: Sequence[tuple[Cell, Outcome]],
    made: dict[str, Any],
    say: Callable[[], None],
    searches: tuple[Searched, ...] = (),
    beside: Published | None = None,
) -> tuple[Board, dict[str, list[Results]]]:
    """Return the board of all cells that have results, and these, corpus by corpus.

    Args:
        say: called after each entry on each corpus.
        searches: that came before.
        beside: a board whose entries declared comparisons may name.
    """
    corpora, figures, costs, contrasts, left = [], [], [], [], []
    results_by: dict[str, list[Results]] = {}
    stood: list[Stood] = []
    for name, sources in plan.corpora.items():
        found: list[Results] = []
        runs: list[Run] = []
        for entry in plan.entries:
            cells = [(c, o) for c, o in outcomes if c.entry == entry and c.corpus == name]
            reasons = [o for _, o in cells if o.run is None]
            if reasons:
                worst = max(reasons, key=lambda o: o.failed)
                left.append(Left(entry.name, name, worst.reason, worst.failed))
            elif cells:
                place = {(c.source, c.seed): o.run for c, o in cells if o.run}
                runs = [_trained(place[source, plan.seeds_of(name)[0]]) for source in sources]
                results = _read(plan, entry, runs[0].schema, sources, place, plan.seeds_of(name))
                found.append(results)
                figures += results.figures(name, plan.tests)
                stood.append(Stood(entry.name, name, results.stood()))
                costs.append(_cost(name, entry, list(place.values()), len(plan.seeds_of(name))))
            say()
        if runs:
            corpora.append(_info(name, sources, runs))
            others = beside.results(name) if beside else []
            contrasts += _contrasts(plan, name, [*others, *found], beside.floor if beside else plan.floor)
            results_by[name] = found
    board = Board(
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
        searches=searches,
        robustness=tuple(stood),
        protocol=plan.tests.protocol,
    )
    return board, results_by


def _trained(folder: Path) -> Run:
    """Return the run of a cell, of a cascade that of its small member."""
    return small_run(folder, read_cascade(folder)) if is_cascade(folder) else Run.load(folder)


def _read(
    plan: BenchPlan,
    entry: EntryPlan,
    schema: Schema,
    sources: Sequence[str],
    place: Mapping[tuple[str, int], Path],
    seeds: Sequence[int],
) -> Results:
    """Return the results of an entry: seeds side by side, the test samples of folds pooled."""
    names = [point.text for point in plan.tests.of(schema)]
    target = schema.joint_targets[0]
    return Results.of(
        entry.name, schema, {s: pooled([place[source, s] for source in sources], target, names) for s in seeds}
    )


def _contrasts(plan: BenchPlan, corpus: str, found: Sequence[Results], floor: str) -> list[Contrast]:
    """Return the declared comparisons on a corpus, in what its entries are ordered by."""
    key, tops = headlines(found, plan.tests)
    sides = {
        r.name: Side(top, r.tables[COMPLETE], r.blocks, r.whole["true"]) for r, top in zip(found, tops, strict=True)
    }
    return contrasts_on(corpus, key, found[0].target, sides, plan.contrasts, floor)


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
        escalated=float(np.mean([c["escalated"][COMPLETE] if entry.members else math.nan for c in cells])),
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
    if plan.members:
        return _cascade(plan)
    kind = find_method(plan.method)
    return Entry(
        name=plan.name,
        method=method_id(kind),
        paper=kind.paper,
        preset=plan.preset,
        settings=plan.options | {n: e for n, e in (("encoder", plan.encoder), ("encode", plan.encode)) if e},
        prior=prior(plan.options.get("train_stress", ""), kind.drops),
        floor=plan.method == FLOOR,
        handles_absence=kind.handles_absence,
    )


def _cascade(plan: EntryPlan) -> Entry:
    """Return the entry of a cascade, which knew of absence what either member did."""
    small, large = map(_entry, plan.members)
    members = {"small": small.method, "large": large.method}
    settings = {which: own.settings for which, own in (("set small", small), ("set large", large)) if own.settings}
    return Entry(
        name=plan.name,
        method=plan.method,
        paper="U-ACS, Han et al., 2025, arXiv:2509.04459",
        preset=" and ".join(dict.fromkeys(own.preset for own in (small, large) if own.preset)),
        settings=members | plan.options | settings,
        prior=max(small.prior, large.prior, key=get_args(Prior).index),
        floor=False,
        handles_absence=small.handles_absence and large.handles_absence,
    )


def _notes(plan: BenchPlan) -> list[str]:
    seeds = ", ".join(map(str, plan.seeds))
    own = "; ".join(f"{name}: {', '.join(map(str, few))}" for name, few in plan.corpus_seeds.items())
    alone = f" ({own})" if own else ""
    search = (
        f"Hyper-parameters: {plan.search.trials} trials of Optuna for every entry and training split, chosen by the "
        "validation loss of the first seed, the entry's own settings first; what is worse than the median before it is "
        "given up. The linear floor chooses among eight penalties by itself."
        if plan.search.trials
        else "Hyper-parameters: the presets as they are, no search."
    )
    return [
        f"Mean over the seeds {seeds}{alone} with the population standard deviation over them.",
        f"Intervals: 95% of the mean over seeds, over groups of test samples (samples where none are known) and over "
        f"seeds; below {FEW} groups the range over groups stands in their place.",
        "The epoch with the lowest validation task loss is tested; the test split chooses nothing.",
        search,
        *([f"Protocol {plan.tests.protocol}: {named(plan.tests.protocol).says}"] if plan.tests.protocol else []),
        "Stress acts on standardised features, the same masks for every entry and seed: a sample's mask follows from "
        "its id.",
        "Areas: under the line through the points (trapezoids, complete input at 0), divided by the width. With two "
        "modalities a missing rate ends at 0.5, where one of them is left; with three at 0.667.",
        "Where a corpus comes in folds, their test samples are pooled.",
        "Training time is that of one seed (all folds), with as many trainings side by side as the board says; latency "
        "is of one sample alone, features to prediction.",
    ]
