"""A run against every entry of a published board, without training any of them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polymodal.bench.figures import is_area
from polymodal.bench.published import Published
from polymodal.bench.results import Columns, Results, Tables, by_condition, headlines
from polymodal.core import DataError, Target
from polymodal.score import compare_tables, holm, summarise_tables, told_apart
from polymodal.stress import COMPLETE
from polymodal.train.predictions import FILE, read_table
from polymodal.train.run import Run


@dataclass(frozen=True)
class Standing:
    """A run or an entry of the board, in one condition.

    Attributes:
        place: 1 is best.
        name: of the entry; the run's own row has that of its folder.
        own: whether it is the run.
        mean, low, high: of the main metric, with the 95% interval.
        difference, difference_low, difference_high, p, p_holm: run minus entry; NaN in the run's own row.
    """

    place: int
    name: str
    own: bool
    mean: float
    low: float
    high: float
    difference: float = float("nan")
    difference_low: float = float("nan")
    difference_high: float = float("nan")
    p: float = float("nan")
    p_holm: float = float("nan")

    @property
    def told(self) -> bool:
        """Whether the run can be told from the entry: the corrected test and the interval both say so."""
        return told_apart(self.p_holm, self.difference_low, self.difference_high)


@dataclass(frozen=True)
class Standings:
    """A run among the entries of a board.

    Attributes:
        corpus: of the board on which the run was tested.
        key: what is compared: ``complete``, or the area under a curve.
        metric, higher_is_better: the main metric.
        samples, groups: that both were tested on.
        rows: best first.
        warnings: what makes the comparison unfair.
    """

    corpus: str
    key: str
    metric: str
    higher_is_better: bool
    samples: int
    groups: int
    rows: tuple[Standing, ...]
    warnings: tuple[str, ...]


def standings(run: Run, published: Published) -> list[Standings]:
    """Return the place of an evaluated run among the entries of a board: on complete input, and in what these are
    ordered by, where the run was tested under the same conditions.

    Raises:
        DataError: the run was tested on none of the board's corpora, or its labels differ.
        RunError: it has no predictions.
    """
    said = _said(run, run.schema.joint_targets[0])
    ids = next(iter(said.values()))[COMPLETE]["id"]
    corpus, rows = _corpus(published, ids, run)
    entries = published.results(corpus, rows)
    own = _own(run, said, entries[0])
    known = {COMPLETE} | set(entries[0].tables)
    name = "the run" if run.path.name in {e.name for e in entries} else run.path.name
    mine = Results.of(
        name, entries[0].schema, {s: {c: v for c, v in by.items() if c in known} for s, by in own.items()}
    )
    warnings = _warnings(run, published, corpus)
    found = [_standings(corpus, COMPLETE, mine, entries, [r.tables[COMPLETE] for r in (mine, *entries)], warnings)]
    key, tops = headlines([mine, *entries], published.tests)
    if is_area(key) and known <= set(mine.tables):
        found.append(_standings(corpus, key, mine, entries, tops, warnings))
    return found


def _standings(
    corpus: str,
    key: str,
    mine: Results,
    entries: Sequence[Results],
    tables: Sequence[Tables],
    warnings: tuple[str, ...],
) -> Standings:
    metric, better = mine.target.spec.main, mine.target.spec.metrics[mine.target.spec.main]
    blocks = entries[0].blocks
    rows = []
    for result, table in zip((mine, *entries), tables, strict=True):
        summary = summarise_tables(table, blocks)[metric]
        row = Standing(0, result.name, result is mine, summary.mean, summary.low, summary.high)
        if result is not mine:
            c = compare_tables(tables[0], table, metric, blocks)
            row = replace(row, difference=c.difference, difference_low=c.low, difference_high=c.high, p=c.p)
        rows.append(row)
    adjusted = holm([row.p for row in rows[1:]])
    rows[1:] = [replace(row, p_holm=p) for row, p in zip(rows[1:], adjusted, strict=True)]
    rows.sort(key=lambda row: -row.mean if better else row.mean)
    placed = tuple(replace(row, place=place) for place, row in enumerate(rows, 1))
    return Standings(corpus, key, metric, better, len(blocks.member), blocks.groups, placed, warnings)


def _said(run: Run, target: Target) -> dict[int, dict[str, Columns]]:
    """Return what the run predicted: seed -> condition -> columns."""
    from pyarrow import compute

    file = run.path / "evaluation" / FILE
    if not file.is_file():
        raise DataError(f"{run.path} was not evaluated yet; run: polymodal evaluate {run.path}")
    table = read_table(file, split="test")
    if not len(table):
        raise DataError(f"{run.path} was not tested on a split called test, which boards compare on")
    seeds = dict.fromkeys(table["seed"].to_pylist())
    return {seed: by_condition(table.filter(compute.equal(table["seed"], seed)), target) for seed in seeds}


def _corpus(published: Published, ids: Any, run: Run) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the corpus whose test samples the run was tested on, and which of them."""
    wanted = set(ids.tolist())
    for info in published.board.corpora:
        known = published.samples(info.name)["id"]
        if wanted <= set(known.tolist()):
            return info.name, np.flatnonzero(np.isin(known, ids))
    names = ", ".join(info.name for info in published.board.corpora)
    raise DataError(
        f"{run.path} was tested on {run.config['data']['source']}, which is no corpus of the board {published.folder} "
        f"({names}): their test samples have other ids; train and evaluate it on a source that "
        f"{published.folder / 'board.json'} names"
    )


def _own(run: Run, said: dict[int, dict[str, Columns]], entry: Results) -> dict[int, dict[str, Columns]]:
    """Return the run's predictions in the order of the board's, with its groups."""
    whole = entry.whole
    for found in said.values():
        for name, columns in found.items():
            place = {sample: row for row, sample in enumerate(columns["id"].tolist())}
            rows = [place[sample] for sample in whole["id"].tolist()]
            found[name] = whole | {part: columns[part][rows] for part in ("true", "predicted")}
    true = next(iter(said.values()))[COMPLETE]["true"]
    if true.shape != whole["true"].shape or not np.allclose(true, whole["true"], equal_nan=True):
        raise DataError(f"{run.path} was tested on other labels of the same samples than the board")
    return said


def _warnings(run: Run, published: Published, corpus: str) -> tuple[str, ...]:
    info = next(c for c in published.board.corpora if c.name == corpus)
    found = list(run.config["data"].get("warnings", []))
    if run.config["data"]["hash"] not in info.hashes:
        found.append(
            f"the run was trained on other data than the entries ({run.config['data']['source']}, not "
            f"{info.sources[0]}): who learned from more, or from these test samples, is ahead for that alone"
        )
    return tuple(found)
