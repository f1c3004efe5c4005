"""One cell of a benchmark: an entry trained with one seed on one source, tested in every condition, measured."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from polymodal.bench.keys import content_key
from polymodal.bench.plan import Conditions, EntryPlan
from polymodal.core import Batch, DataError, PolymodalError, Schema
from polymodal.core.locks import locked
from polymodal.data.corpus import Corpus
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.stress import COMPLETE, Point, sweeps
from polymodal.train.checkpoint import write_json
from polymodal.train.fit import train
from polymodal.train.infer import infer
from polymodal.train.plan import Plan, prepare
from polymodal.train.predictions import FILE, as_table, write_table
from polymodal.train.run import Run
from polymodal.train.stressed import stressed

TIMED = 30
"""Samples whose latency is measured."""


@dataclass(frozen=True)
class Cell:
    """What is to be run.

    Attributes:
        folder: of all runs of the benchmark.
        tuned: options found by a search, over those of the entry; of a cascade, name of the member -> those.
    """

    entry: EntryPlan
    corpus: str
    source: str
    seed: int
    tests: Conditions
    folder: Path
    device: str = "auto"
    tuned: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        run: its folder, with ``cell.json`` and ``predictions.parquet``; None where there are no results.
        reason: why there are none.
        failed: whether there should have been some.
        reused: whether all of it was there before.
    """

    run: Path | None = None
    reason: str = ""
    failed: bool = False
    reused: bool = False


def broken(error: BaseException | None) -> Outcome:
    """Return the outcome of a cell that raised what it should not have (a bug), or whose process died (None)."""
    if error is None:
        reason = "the process that trained it died twice: memory ran out, or a library crashed"
    else:
        reason = f"{type(error).__name__}: {error}; polymodal fit with the same method shows where"
    return Outcome(reason=reason, failed=True)


def run_cell(cell: Cell) -> Outcome:
    """Train, test and measure ``cell``; what is done already is not done again.

    A cell that cannot be (the method does not fit the corpus) or fails becomes an ``Outcome`` that says why.
    """
    console.quiet = True  # the benchmark has one progress bar of its own
    try:
        _ = corpus_of(cell.source)  # what cannot be read is a failure; a method that cannot read it is none
        try:
            plan, method = prepared(cell)
        except DataError as error:
            return Outcome(reason=str(error))
        return _run(cell, plan, method)
    except PolymodalError as error:
        return Outcome(reason=str(error), failed=True)
    except RuntimeError as error:  # of torch: memory, an operation that the device lacks
        return Outcome(reason=f"{type(error).__name__}: {str(error).splitlines()[0]}", failed=True)


def prepared(cell: Cell) -> tuple[Plan, Method]:
    """Return the resolved training of a cell, and the untrained method.

    Raises:
        DataError, OptionError: as ``fit``.
    """
    entry = cell.entry
    names = corpus_of(cell.source).schema.names
    plan = prepare(
        entry.method,
        cell.source,
        preset=entry.preset or None,
        options={**entry.options, **cell.tuned},
        encoder={n: e for n, e in entry.encoder.items() if n in names},
        encode={n: e for n, e in entry.encode.items() if n in names},
        seeds=[cell.seed],
        load=lambda source: corpus_of(str(source)),
    )
    if not plan.corpus.test_splits:
        raise DataError(f"{cell.source} has no test split")
    method = build(find_method(entry.method), plan.corpus.schema, plan.config["options"])
    return plan, method


@lru_cache(maxsize=2)
def corpus_of(source: str) -> Corpus:
    """Return what ``source`` holds. A process keeps the last corpora: cells come ordered by source."""
    return load_corpus(source)


def _run(cell: Cell, plan: Plan, method: Method) -> Outcome:
    key = content_key(plan, method, cell.device)
    name = f"{plan.config['method']}-{cell.corpus}-{cell.seed}-{key}"
    cell.folder.mkdir(parents=True, exist_ok=True)
    with locked(cell.folder / f".{name}.lock"):  # two entries with equal settings are one cell
        return _run_alone(cell, plan, cell.folder / name, key)


def _run_alone(cell: Cell, plan: Plan, folder: Path, key: str) -> Outcome:
    done = read_cell(folder)
    asked = still_asked(cell, plan.corpus.schema, done)
    if not asked:
        return Outcome(folder, reused=True)
    memory = PeakMemory()
    fitted = (folder / f"seed-{cell.seed}" / "result.json").is_file()
    again = (folder / "run.json").is_file()
    run = train(plan, folder, device=cell.device, resume=again, checkpoint_seconds=math.inf, calibrated=False)
    # Not known where the training was another process's.
    peak = done["memory_mib"] if done else None if fitted else memory.mib()
    (folder / f"seed-{cell.seed}" / "last.safetensors").unlink(missing_ok=True)
    corpus = replace(plan.corpus, stored_normalizer=run.normalizer)
    _predict(run, corpus, asked, cell.seed)
    write_json(
        folder / "cell.json",
        {
            "conditions": [point.text for point in asked],
            "parameters": run.config["parameters"],
            **{k: run.results()[cell.seed][k] for k in ("seconds", "epochs", "best_epoch", "valid_loss", "stopped")},
            "latency_ms": _latency(run, corpus),
            "memory_mib": peak,
            "code": key,
            "tuned": cell.tuned,
        },
    )
    return Outcome(folder)


def still_asked(cell: Cell, schema: Schema, done: dict[str, Any] | None) -> list[Point]:
    """Return the conditions that ``cell`` is to be tested in; none where all that it asks for is ``done``.

    Those of another benchmark in the same folder are among them, so that the two do not undo each other's work.
    """
    asked = cell.tests.of(schema)
    if not done:
        return asked
    known = {point.text for point in asked}
    if known <= set(done["conditions"]):
        return []
    return asked + sweeps(text for text in done["conditions"] if text not in known | {COMPLETE})


def read_cell(folder: Path) -> dict[str, Any] | None:
    """Return ``cell.json`` of a finished cell, None where it is not finished."""
    try:
        found = dict(json.loads((folder / "cell.json").read_text()))
    except (OSError, ValueError):
        return None
    return found if (folder / FILE).is_file() else None


def _predict(run: Run, corpus: Corpus, asked: Sequence[Point], seed: int) -> None:
    """Write the predictions of every condition on the test split."""
    method, name = run.method(seed), tested_split(corpus)
    split, tables = corpus[name], []
    loader = run.loader(corpus, split)
    batches = list(loader.epoch())  # made once and kept: a small corpus is tested twenty times
    for point in asked:
        columns = split.with_groups(infer(method, map(stressed(loader, point.stress), batches))[0])
        tables.append(as_table(columns, seed=seed, split=name, condition=point.text))
    write_table(tables, run.path / FILE)


def tested_split(corpus: Corpus) -> str:
    """Return the split that entries are compared on: ``test``, or the first that there is."""
    return "test" if "test" in corpus.splits else corpus.test_splits[0]


def _latency(run: Run, corpus: Corpus) -> float:
    """Return the median milliseconds of one sample alone, features to prediction."""
    method = run.method()
    loader = run.loader(corpus, tested_split(corpus))
    rows = [r for batch in loader.plan(0) for r in batch]
    spread = rows[:: max(1, len(rows) // TIMED)][:TIMED]
    singles: list[Batch] = [loader.batch(torch.tensor([r]).numpy()) for r in spread]
    infer(method, singles[:3])
    taken = []
    for single in singles:
        began = time.perf_counter()
        infer(method, [single])
        taken.append(1000 * (time.perf_counter() - began))
    return round(sorted(taken)[len(taken) // 2], 3)


class PeakMemory:
    """Highest memory of this process over where it stood when this was made, in MiB; None where it cannot be known."""

    def __init__(self) -> None:
        gc.collect()
        with suppress(OSError, AttributeError):  # give back what an earlier cell left, where the C library is glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._start = _status("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
        except OSError:
            self._start = math.nan

    def mib(self) -> float | None:
        """Return the peak so far."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
        peak = _status("VmHWM") - self._start
        return None if math.isnan(peak) else round(max(0.0, peak), 1)


def _status(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), math.nan)
