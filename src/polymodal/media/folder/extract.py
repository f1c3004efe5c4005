"""A corpus from a whole folder of clips: parts are made by workers, kept, and put together in the end."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.core import DataError, OptionError
from polymodal.core.locks import locked
from polymodal.core.text import cell
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.data.store import refuse_taken, write_store
from polymodal.media.extraction import Extraction
from polymodal.media.folder.assemble import Made, assemble, collect, write_tables
from polymodal.media.folder.manifest import Manifest
from polymodal.media.folder.partial import FAILED, LOCK, clear, open_partial, remove
from polymodal.media.folder.parts import cannot_write
from polymodal.media.folder.summary import Summary, summarise
from polymodal.media.folder.work import Facts, Job, Task, part_key
from polymodal.media.folder.workers import Cluster, Extractors, Workers

if TYPE_CHECKING:
    from polymodal.media.pipeline import Pipeline


def extract(
    manifest: Manifest,
    out: str | Path,
    *,
    extraction: Extraction,
    workers: int = 1,
    ray: str | None = None,
    assets: str | Path | None = None,
    asr_device: str = "cpu",
    memory: int = 0,
    make: Callable[..., Pipeline] | None = None,
) -> Summary:
    """Extract all clips of ``manifest`` into the store ``out``; the same store for any number and kind of workers.

    Parts are kept in ``out`` + ``.partial`` until the store is written; another start goes on from there, and so it
    does when options, clips or transcripts have changed. A clip that cannot be read is listed in ``failed.csv``; parts
    then stay, so that it alone is read again once ``out`` has been removed.

    Args:
        extraction: what to extract; see ``manifest.suggested``.
        workers: processes, each single-threaded with extractors of its own.
        ray: address of a Ray cluster to work on instead, or ``local``.
        assets: folder with models (see ``Pipeline``).
        asr_device: what recognises speech: ``cpu``, ``cuda`` or ``auto``.
        memory: MiB that each process of this machine may take beyond what its extractors hold; 0 for any. A clip that
            needs more is listed in ``failed.csv``.
        make: makes a pipeline, called as ``make(extraction, assets=..., asr_device=...)`` in each process; must be
            importable there.

    Raises:
        DataError: ``out`` exists or cannot be written, or no clip can be used.
        OptionError: options that do not fit the manifest, or an extractor or cluster that cannot be had.
    """
    from polymodal.media.pipeline import Pipeline
    from polymodal.media.pretrained.named import pinned

    folder = Path(out)
    _check(manifest, extraction, workers)
    extraction = pinned(extraction)  # for all workers: a branch of a hub may move on meanwhile
    partial = open_partial(folder, manifest)
    job = Job(
        extraction,
        None if assets is None else str(Path(assets).absolute()),
        make or Pipeline,
        asr_device,
        0 if ray else memory,
    )
    busy = f"another process extracts into {folder}; wait for it, or choose another --out"
    with ExitStack() as held:
        with suppress(FileNotFoundError):  # another process has finished since: `refuse_taken` says so
            held.enter_context(locked(partial / LOCK, busy=busy))
        refuse_taken(folder)
        return _extracted(manifest, folder, partial, job, workers, ray)


def _extracted(manifest: Manifest, folder: Path, partial: Path, job: Job, workers: int, ray: str | None) -> Summary:
    """Make what is missing in ``partial``, and the store of it."""
    clear(partial)
    for mark in partial.glob("parts/*.tries"):
        mark.unlink(missing_ok=True)
    began = time.perf_counter()
    team = Extractors(job, min(workers, len(manifest.clips))) if ray is None else Cluster(job, workers, ray)
    with team:
        found = team.facts()
        tasks = _tasks(manifest, found, partial / "parts")
        before = {m.task.clip for m in collect(tasks)}
        failures = _run(team, tasks, before, partial)
    seconds = time.perf_counter() - began
    made = collect(tasks)
    if not made:
        raise DataError(f"no clip of {manifest.source} could be extracted; {_first(failures)}")
    corpus = _write(manifest, found, made, failures, partial, folder)
    return summarise(folder, corpus, made, before, failures, found.extraction.text, seconds)


def _check(manifest: Manifest, extraction: Extraction, workers: int) -> None:
    """Raise OptionError where options and manifest do not go together."""
    if workers < 1:
        raise OptionError(f"workers must be at least 1, got {workers}")
    place, rows = manifest.source, manifest.rows
    for name in ("audio", "vision"):
        if getattr(extraction, name) == "file" and not any(name in row.features for row in rows):
            raise OptionError(f"{name} is 'file', but {place} names no such files; say --columns {name}=COLUMN")
    if extraction.utterances == "transcript" and not any(row.transcript for row in rows):
        raise OptionError(f"{place} names no transcripts; say --columns transcript=COLUMN")
    if extraction.text == "none":
        return
    if extraction.align == "words" and any(row.text and not row.transcript for row in rows):
        raise OptionError(
            f"{place} says which words, not when; give transcripts with times, or have the clips transcribed with "
            "--columns text=none"
        )
    whole = [row for row in rows if row.start is None and row.end is None and (row.text or row.transcript)]
    if whole and extraction.utterances in ("speech", "windows"):
        raise OptionError(
            f"{place} says what is said in whole clips, which does not tell what is said in a part; use --utterances "
            "clip or transcript, or leave it out with --columns text=none transcript=none"
        )


def _tasks(manifest: Manifest, found: Facts, parts: Path) -> list[Task]:
    return [
        Task(rows, parts / f"{sha256(clip.encode()).hexdigest()[:32]}.safetensors", part_key(rows, found))
        for clip, rows in manifest.clips.items()
    ]


def _run(team: Workers, tasks: Sequence[Task], before: set[str], partial: Path) -> dict[str, str]:
    """Have all parts made that are not there; return clip -> reason of those that failed, in the order of tasks."""
    failures: dict[str, str] = {}
    todo = [task for task in tasks if task.clip not in before]
    with progress_bar() as bar:
        shown = bar.add_task("extracting", total=len(tasks), completed=len(before))
        for task, reason in team.run(todo) if todo else ():
            if reason:
                failures[task.clip] = reason
                _write_failures(partial, failures)
            bar.advance(shown)
    return {task.clip: failures[task.clip] for task in tasks if task.clip in failures}


def _write_failures(folder: Path, failures: dict[str, str]) -> None:
    try:
        with (folder / FAILED).open("w", newline="") as file:
            rows = [("clip", "reason"), *failures.items()]
            csv.writer(file).writerows([cell(value) for value in row] for row in rows)
    except OSError as error:
        raise cannot_write(folder, error) from None


def _first(failures: dict[str, str]) -> str:
    clip, reason = next(iter(failures.items()))
    return f"the first: {reason}" if clip in reason else f"the first: {clip}: {reason}"


def _write(
    manifest: Manifest, found: Facts, made: Sequence[Made], failures: dict[str, str], partial: Path, folder: Path
) -> Corpus:
    """Write the store, whole or not at all; remove the parts unless something is left to do."""
    try:
        corpus = assemble(manifest, found, made, len(failures), partial / "raw")
        store = write_store(corpus, partial / "store")
        write_tables(store, made, found.extraction.utterances)
        if failures:
            _write_failures(store, failures)
        store.rename(folder)
        if not failures:
            remove(partial)
    except OSError as error:
        raise cannot_write(partial, error) from None
    finally:
        clear(partial)
    return corpus
