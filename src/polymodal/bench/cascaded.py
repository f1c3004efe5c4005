"""A cell of a cascade: both members are cells of their own, thresholds are fitted on validation, and what they say in
every condition of the test split is routed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.bench.job import Cell, Outcome, corpus_of, prepared, read_cell, run_cell, still_asked, tested_split
from polymodal.bench.keys import code_of
from polymodal.cascade.asking import Questions, Sample
from polymodal.cascade.evaluate import Opened, open_cascade
from polymodal.cascade.fit import fit_cascade
from polymodal.cascade.large import Heard, LargeRun
from polymodal.cascade.records import Records
from polymodal.cascade.records import run as routed
from polymodal.cascade.routing import Array
from polymodal.cascade.voice import Said, read
from polymodal.core import OptionError, PolymodalError
from polymodal.core.locks import locked
from polymodal.stress import COMPLETE, Point
from polymodal.train.checkpoint import write_json
from polymodal.train.predictions import FILE, Columns, as_table, write_table


def run_entry(cell: Cell) -> Outcome:
    """Train, test and measure ``cell``, of a method or of a cascade; see ``run_cell``."""
    return _run_cascade(cell) if cell.entry.members else run_cell(cell)


def parts(cell: Cell) -> list[Cell]:
    """Return what is trained for ``cell``: itself, or the cells of the members of a cascade."""
    if not cell.entry.members:
        return [cell]
    return [replace(cell, entry=own, tuned=cell.tuned.get(own.name, {})) for own in cell.entry.members]


def _run_cascade(cell: Cell) -> Outcome:
    folders: list[Path] = []
    for part in parts(cell):
        outcome = run_cell(part)
        if outcome.run is None:
            return replace(outcome, reason=f"{part.entry.name}: {outcome.reason}")
        folders.append(outcome.run)
    names, code = [folder.name for folder in folders], code_of([Path(__file__)])
    named = {"members": names, "options": cell.entry.options, "code": code}
    key = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]
    name = f"{cell.entry.method}-{cell.corpus}-{cell.seed}-{key}"
    try:
        with locked(cell.folder / f".{name}.lock"):
            return _run_alone(cell, folders, cell.folder / name, key)
    # Nothing can be routed: no single answer, or a small member that is equally sure of everything.
    except OptionError as error:
        return Outcome(reason=str(error))
    except PolymodalError as error:
        return Outcome(reason=str(error), failed=True)


def _run_alone(cell: Cell, members: Sequence[Path], folder: Path, key: str) -> Outcome:
    asked = still_asked(cell, prepared(parts(cell)[0])[0].corpus.schema, read_cell(folder))
    if not asked:
        return Outcome(folder, reused=True)
    small, large = members
    raw = corpus_of(cell.source)
    fit_cascade(small, f"run:{large}", raw, out=folder, **cell.entry.options)
    opened = open_cascade(folder, raw)
    escalated = _predict(opened, asked, cell.seed, folder)
    first, second = (read_cell(member) or {} for member in members)
    peaks = [c["memory_mib"] for c in (first, second) if c["memory_mib"] is not None]
    write_json(
        folder / "cell.json",
        {
            "conditions": [point.text for point in asked],
            **{k: first[k] + second[k] for k in ("parameters", "seconds", "epochs")},
            # Of a sample of the complete test split, on average.
            "latency_ms": round(first["latency_ms"] + escalated[COMPLETE] * second["latency_ms"], 3),
            "memory_mib": max(peaks, default=None),
            "code": key,
            "tuned": cell.tuned,
            "escalated": escalated,
        },
    )
    return Outcome(folder)


def _predict(opened: Opened, asked: Sequence[Point], seed: int, folder: Path) -> dict[str, float]:
    """Write what the cascade predicts in every condition; return condition -> share that the large member answered or
    was asked about."""
    name = tested_split(opened.raw)
    assert isinstance(opened.large, LargeRun)
    speakers = (opened.speaker, opened.large.speaker)
    split, tables, shares = opened.speaker.corpus[name], [], {}
    samples = [Sample(str(row)) for row in range(len(split))]
    for point in asked:
        small, large = (s.said(s.corpus[name], point.stress) for s in speakers)
        answers, others = (read(said, s.sureness) for said, s in zip((small, large), speakers, strict=True))
        records = routed(opened.rule, Questions(Heard(others), samples, answers))
        columns = _columns(opened, split.targets[opened.target.name], small, large, records)
        columns = split.with_groups({"id": np.asarray(split.ids), **columns})
        tables.append(as_table(columns, seed=seed, split=name, condition=point.text))
        shares[point.text] = float((records.calls > 0).mean())
    write_table(tables, folder / FILE)
    return shares


def _columns(opened: Opened, true: Array, small: Said, large: Said, records: Records) -> Columns:
    target = opened.target
    found: dict[str, Any] = {"true": true, "predicted": records.score.astype(true.dtype)}
    if target.spec.answer == "class":
        assert small.shares is not None
        assert large.shares is not None
        # Of an unsettled contradiction the surer one is returned; see ``routing.settle``.
        surer = (records.stage == "3") & (records.large.u <= records.small.u)
        second = np.isin(records.stage, ("2a", "2b")) | surer
        found["probability"] = np.where(second[:, None], large.shares, small.shares).astype(np.float32)
    return {f"{target.name}/{column}": values for column, values in found.items()}
