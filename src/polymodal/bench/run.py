"""``polymodal.bench``: every entry on every corpus with every seed; what is done is not done again."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from polymodal.bench.board import Board, Searched
from polymodal.bench.cascaded import parts, run_entry
from polymodal.bench.collect import collect
from polymodal.bench.job import Cell, Outcome, broken
from polymodal.bench.plan import BenchPlan, Search
from polymodal.bench.published import Published, joined
from polymodal.bench.published import publish as write_published
from polymodal.bench.read import base_of, read_plan
from polymodal.bench.results import Results
from polymodal.bench.search import Found, check_optuna, run_search
from polymodal.core import OptionError, RunError
from polymodal.core.locks import locked
from polymodal.data.folds import deal
from polymodal.data.processes import Processes, joined_cluster
from polymodal.data.progress import console, progress_bar
from polymodal.data.sources import load_corpus
from polymodal.train.plan import code_digest

T = TypeVar("T")
R = TypeVar("R")


def bench(
    plan: BenchPlan,
    out: str | Path,
    *,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "auto",
    publish: str | Path | None = None,
    beside: Published | None = None,
) -> Board:
    """Run what is missing of ``plan`` into ``out`` and return the board, also written to ``out/board.json``.

    Every cell (entry, source, seed) lies under ``out/runs`` in a folder named by a digest of settings, data, seed and
    the code it depends on: the same cell is never run twice, another benchmark in the same folder shares it, and a
    benchmark that was stopped goes on.

    Args:
        workers: trainings side by side; default one per processor, a single one on a GPU.
        ray: address of a Ray cluster that sees ``out``, or ``local``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        publish: folder for the board with its predictions, see ``bench.published``.
        beside: a published board that the entries of ``plan`` are added to; see ``added``.

    Raises:
        OptionError: no such cluster, no Optuna for a search.
        RunError: ``out`` cannot be written, another process works in it, or nothing could be run.
    """
    folder = Path(out).absolute()
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create {folder}: {error.strerror}; choose another --out") from None
    if plan.search.trials:
        check_optuna()
    if workers is not None and workers < 1:
        raise OptionError(f"workers must be at least 1, got {workers}")
    busy = f"another polymodal bench works in {folder}; wait for it or choose another --out"
    with locked(folder / ".lock", busy=busy):
        board, results = _bench(plan, folder, workers or _default_workers(device), ray, device, beside)
        asked = plan.asked
        if beside:
            board, asked, results = joined(beside, board, asked["methods"], results)
        if publish:
            Path(publish).mkdir(parents=True, exist_ok=True)
            with locked(Path(publish) / ".lock", busy=f"another process publishes into {publish}; wait for it"):
                write_published(board, asked, plan.tests, results, Path(publish))
        board.save(folder / "board.json")
        return board


def added(published: Published, methods: Sequence[str]) -> BenchPlan:
    """Return the plan that puts ``methods`` on a published board: its corpora, seeds, search and conditions, and each
    against its floor and, where it is around a method that is on the board or made of some, against these.

    Raises:
        OptionError: as ``read_plan``; a method that is on the board under the same name.
    """
    asked = {key: value for key, value in published.asked.items() if key != "contrasts"}  # of its own entries
    plan = read_plan(None, asked | {"methods": list(methods)})
    own = tuple(e for e in plan.entries if e.name != published.floor)
    known = {e.name for e in published.board.entries}
    for entry in own:
        if entry.name in known:
            raise OptionError(f"{entry.name} is on the board already; give yours another name, or leave it out")
    around = [(e.name, b) for e in own for b in (base_of(e), *(m.method for m in e.members)) if b in known]
    return replace(plan, entries=own, contrasts=(*around, *((e.name, published.floor) for e in own if published.floor)))


def _bench(
    plan: BenchPlan, folder: Path, count: int, ray: str | None, device: str, beside: Published | None
) -> tuple[Board, dict[str, list[Results]]]:
    began = time.perf_counter()
    plan = plan.dealt(lambda source: len(deal(load_corpus(source), plan.folds or 0)))
    cells = _cells(plan, folder / "runs", device)
    console.print(
        f"{len(plan.entries)} entries, {len(plan.corpora)} corpora, {len(plan.seeds)} seeds: {len(cells)} trainings, "
        f"{count} side by side, into {folder}",
        soft_wrap=True,
    )
    searches: tuple[Searched, ...] = ()
    if plan.search.trials:
        cells, searches = _searched(plan, cells, count, ray)
    outcomes = list(_all(run_entry, cells, count, ray, broken, "training and testing", _line))
    made = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {_processors()} processors, {platform.system()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "polymodal": _version("polymodal"),
        "code": code_digest(),
        "device": device,
        "side_by_side": count,
        "trainings": len(cells),
        "reused": sum(o.reused for _, o in outcomes),
        "seconds": 0.0,
        "command": _command(sys.argv),
    }
    with progress_bar() as bar:
        task = bar.add_task("intervals", total=len(plan.entries) * len(plan.corpora))
        board, results = collect(plan, outcomes, made, lambda: bar.advance(task), searches, beside)
    if not board.figures:
        raise RunError(f"nothing could be run; the first reason: {board.left[0].reason}")
    board.made["seconds"] = round(time.perf_counter() - began, 1)
    return board, results


def _cells(plan: BenchPlan, folder: Path, device: str) -> list[Cell]:
    """Return all cells, those of a source together: a process keeps the corpus it has read."""
    return [
        Cell(entry, corpus, source, seed, plan.tests, folder, device)
        for corpus, sources in plan.corpora.items()
        for source in sources
        for entry in plan.entries
        if not entry.only or corpus in entry.only
        for seed in plan.seeds_of(corpus)
    ]


def _searched(
    plan: BenchPlan, cells: Sequence[Cell], workers: int, ray: str | None
) -> tuple[list[Cell], tuple[Searched, ...]]:
    """Return the cells with the options that a search found for their entry and source, and what the searches cost."""
    first = [(part, plan.search) for c in cells if c.seed == plan.seeds_of(c.corpus)[0] for part in parts(c)]
    found = {
        (c.entry.name, c.source): (c, result)
        for (c, _), result in _all(run_search, first, workers, ray, lambda error: Found(), "searching", _tuned_line)
    }
    searches = [Searched(c.entry.name, c.corpus, c.source, *astuple(result)) for c, result in found.values()]

    def options(cell: Cell) -> dict[str, Any]:
        by_member = {own.name: found[own.name, cell.source][1].options for own in cell.entry.trained}
        return by_member if cell.entry.members else by_member[cell.entry.name]

    return [replace(c, tuned=options(c)) for c in cells], tuple(searches)


def _all(
    function: Callable[[T], R],
    tasks: Sequence[T],
    workers: int,
    ray: str | None,
    failed: Callable[[BaseException | None], R],
    what: str,
    line: Callable[[T, R], str],
) -> Iterator[tuple[T, R]]:
    """Yield each task with its result, showing progress and the time left."""
    began = time.perf_counter()
    if ray:
        results = _on_cluster(function, tasks, workers, ray, failed)
    else:
        results = _in_processes(function, tasks, min(workers, len(tasks)), failed)
    with progress_bar() as bar:
        task = bar.add_task(what, total=len(tasks))
        for number, (one, result) in enumerate(results, start=1):
            bar.advance(task)
            text = line(one, result)
            if text:
                each = (time.perf_counter() - began) / number
                left = f", about {each * (len(tasks) - number) / 60:.0f} min left" if number < len(tasks) else ""
                console.print(f"{number}/{len(tasks)}  {text}{left}", soft_wrap=True, markup=False)
            yield one, result


def _tuned_line(task: tuple[Cell, Search], found: Found) -> str:
    cell = task[0]
    settings = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.options.items())
    return f"{cell.entry.name} on {cell.corpus}: {settings or 'nothing to search'}"


def _line(cell: Cell, outcome: Outcome) -> str:
    """Return what is said of a finished cell; nothing of one that was there before."""
    name = f"{cell.entry.name} on {cell.corpus}, seed {cell.seed}"
    if outcome.reused:
        return ""
    return f"{name}: {'FAILED: ' if outcome.failed else 'left out: '}{outcome.reason}" if outcome.reason else name


def _in_processes(
    function: Callable[[T], R],
    tasks: Sequence[T],
    workers: int,
    failed: Callable[[BaseException | None], R],
) -> Iterator[tuple[T, R]]:
    # One thread each, however many work side by side: sums over several threads round in another way.
    with Processes(function, workers, failed(None), failed=failed) as pool:
        yield from pool.run(tasks)


def _on_cluster(
    function: Callable[[T], R],
    tasks: Sequence[T],
    workers: int,
    ray: str,
    failed: Callable[[BaseException | None], R],
) -> Iterator[tuple[T, R]]:
    with joined_cluster(workers, ray):
        import ray as cluster

        remote = cluster.remote(function).options(num_cpus=1, max_retries=1)
        running = {remote.remote(task): task for task in tasks}
        while running:
            (ready, *_), _ = cluster.wait(list(running))
            try:
                result = cluster.get(ready)
            except cluster.exceptions.RayTaskError as error:
                result = failed(error.cause)
            except cluster.exceptions.RayError:  # its process died
                result = failed(None)
            yield running.pop(ready), result


def _command(words: list[str]) -> str:
    """Return a command line; of paths from the root only the names, for boards are published. Empty from Python."""
    if not Path(words[0]).name.startswith("polymodal"):
        return ""
    return re.sub(r"(?<![\w./])/(?:[^\s/=,]+/)+", "", " ".join(["polymodal", *words[1:]]))


def _default_workers(device: str) -> int:
    import torch

    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return _processors() if on_cpu else 1


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
