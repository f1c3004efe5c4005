"""Corpora at rest: one Arrow file set per split with true lengths, memory-mapped when read.

A store is a folder that ``datasets.load_from_disk`` opens too, plus ``polymodal.json`` (schema, hash, statistics).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.core.locks import locked
from polymodal.core.records import SchemaRecord, digest_of, read_record, sealed
from polymodal.core.tasks import refuse_foreign
from polymodal.data.corpus import Corpus
from polymodal.data.pixels import at_rest
from polymodal.data.ragged import Ragged
from polymodal.data.split import Column, Split
from polymodal.data.standardise import Normalizer, StatisticsRecord, check_statistics

MARK = "polymodal.json"
ABOUT = "about/"
"""What names of columns about samples begin with."""


def is_store(path: Path) -> bool:
    """Whether ``path`` is a folder written by ``write_store``."""
    return (path / MARK).is_file()


def write_store(corpus: Corpus, destination: str | Path) -> Path:
    """Write ``corpus`` to the folder ``destination``, whole or not at all.

    Memory stays bounded: memory-mapped columns are copied batch by batch.

    Raises:
        DataError: the folder exists, or cannot be written; a split or modality has a name that it cannot have there.
    """
    import datasets

    folder = Path(destination)
    refuse_taken(folder)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    datasets.disable_progress_bars()
    for name in {"id", "group", "domain"} & set(corpus.schema.names):
        raise DataError(f"modality {name!r} is called as a column that every store has of its own; rename it")
    for name in corpus.splits:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise DataError(f"split {name!r} is to name a folder of the store; call it by letters, digits, '-' or '_'")
    try:
        # A fingerprint of ours: to make its own, datasets would hold a second copy of the table in memory.
        tables = {
            name: datasets.Dataset(_table(corpus.schema, split), fingerprint=f"{corpus.hash}-{name}")
            for name, split in corpus.splits.items()
        }
        datasets.DatasetDict(tables).save_to_disk(str(partial))
        about = {
            "format": 1,
            "name": corpus.name,
            "source": corpus.source,
            "schema": corpus.schema.to_dict(),
            "hash": corpus.hash,
            "normalizer": corpus.normalizer.to_dict() if "train" in corpus.splits else None,
            "notes": list(corpus.notes),
            "extraction": corpus.extraction,
            "checksums": {name: _checksum(partial / name) for name in tables},
        }
        (partial / MARK).write_text(json.dumps(sealed(about)))
        partial.rename(folder)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}; free space or choose another folder"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def reserved(destination: str | Path) -> Iterator[None]:
    """Be the one process that makes the store ``destination`` while the block runs.

    The lock lies beside the store, which is not there yet, and is gone afterwards. Who came by it in that moment finds
    the store, or writes one of its own: half a store never gets the name.

    Raises:
        DataError: the folder exists, or the place cannot be written.
        RunError: another process makes it.
    """
    folder = Path(destination)
    refuse_taken(folder)
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}; choose another folder") from None
    with locked(lock, busy=f"another process makes {folder}; wait for it, or choose another folder"):
        try:
            refuse_taken(folder)
            for left in folder.parent.glob(f".{escape(folder.name)}.partial-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            lock.unlink(missing_ok=True)


def refuse_taken(folder: Path) -> None:
    """Raise DataError where ``folder`` exists."""
    if folder.exists():
        raise DataError(f"{folder} exists already; choose another folder or remove it first")


def verify(corpus: Corpus) -> Corpus:
    """Return ``corpus`` if the stores it was opened from are as they were written; one without checksums is believed.

    Reads every file of a store once.

    Raises:
        DataError: a split whose files have changed.
    """
    for folder in corpus.stored_in:
        for name, wanted in (described(folder).get("checksums") or {}).items():
            if _checksum(folder / name) != wanted:
                raise DataError(
                    f"split {name!r} of the store {folder} is not what was written: its checksum differs; convert or "
                    "extract the corpus again"
                )
    return corpus


def _checksum(folder: Path) -> str:
    """Return a digest of the features of a split, whatever files Arrow has put them into."""
    digest = hashlib.sha256()
    try:
        for file in sorted(folder.glob("*.arrow")):
            digest.update(f"{file.name} {digest_of(file)}\n".encode())
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}; convert the corpus again") from None
    return digest.hexdigest()


class _StateRecord(TypedDict):
    """``polymodal.json``."""

    name: str
    source: NotRequired[str]
    schema: SchemaRecord
    hash: str
    normalizer: dict[str, StatisticsRecord] | None
    notes: list[str]
    extraction: NotRequired[dict[str, Any] | None]
    checksums: NotRequired[dict[str, str]]


def described(folder: Path) -> dict[str, Any]:
    """Return what ``polymodal.json`` says of the store in ``folder``; DataError where it cannot be read."""
    return dict(read_record(folder / MARK, _StateRecord, "convert the corpus again", DataError))


def _table(schema: Schema, split: Split) -> Any:
    """Return the Arrow table of a split; feature buffers are shared, not copied."""
    import pyarrow as pa

    columns: dict[str, Any] = {"id": pa.array(list(split.ids), pa.string())}
    if len(split.groups):
        columns["group"] = pa.array(list(split.groups), pa.string())
    if split.domains is not None:
        columns["domain"] = pa.array(split.domains)
    for modality in schema.modalities:
        column = split.columns[modality.name]
        columns[modality.name] = _arrow(column)
        columns[f"present/{modality.name}"] = pa.array(split.present[modality.name])
    for name, labels in split.targets.items():
        values = [row.tolist() for row in labels] if labels.ndim > 1 else labels
        columns[f"target/{name}"] = pa.array(values)
    for name, by_rater in split.ratings.items():
        columns[f"ratings/{name}"] = pa.StructArray.from_arrays(
            [pa.array(v) for v in by_rater.values()], list(by_rater)
        )
    columns |= {f"{ABOUT}{name}": pa.array(list(told), pa.string()) for name, told in split.about.items()}
    return pa.table(columns)


def _arrow(column: Column) -> Any:
    import pyarrow as pa

    if not isinstance(column, Ragged):
        return pa.array([column[i] for i in range(len(column))], pa.string())
    chunks = []
    for values, offsets in column.chunks:
        # Arrow offsets count numbers, ours count steps; both may start anywhere in a shared buffer.
        flat = pa.array(np.ascontiguousarray(values, dtype=column.dtype).reshape(-1))
        chunks.append(pa.LargeListArray.from_arrays(pa.array(offsets * column.width), flat))
    return pa.chunked_array(chunks)


def read_store(path: str | Path) -> Corpus:
    """Open a store without reading its features: they are memory-mapped.

    Raises:
        DataError: not a store, or damaged.
    """
    import datasets

    folder = Path(path)
    if not is_store(folder):
        raise DataError(
            f"{folder} is not a polymodal store (no {MARK}); make one with: polymodal data convert SRC {folder}"
        )
    about = described(folder)
    try:
        tables = datasets.load_from_disk(str(folder))
        if set(tables) != set(about.get("checksums", tables)):
            raise ValueError(f"it has the splits {', '.join(tables) or 'none'}, not {', '.join(about['checksums'])}")
        refuse_foreign([target["task"] for target in about["schema"]["targets"]], f"store {folder}")
        schema = Schema.from_dict(about["schema"])
        splits = {name: _split(schema, table.data) for name, table in tables.items()}
        held = about["normalizer"]
        if held is not None:
            check_statistics(f"{folder / MARK}: normalizer", held, schema, "convert the corpus again", DataError)
        normalizer = Normalizer.from_dict(held) if held is not None else None
        return Corpus(
            name=about["name"],
            source=str(path),
            schema=schema,
            splits=splits,
            notes=tuple(about["notes"]),
            extraction=about.get("extraction"),
            stored_hash=about["hash"],
            stored_normalizer=normalizer,
            stored_in=(folder,),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"store {folder} is damaged ({reason}); convert the corpus again") from None


def _split(schema: Schema, table: Any) -> Split:
    features = {m.name for m in schema.modalities if m.kind != "text"}
    for name in table.column_names:
        # Arrow believes a file: an offset out of its buffer ends the process. Of features, which may be larger than
        # memory, only the ends are looked at; nothing below follows an offset of theirs outside of NumPy.
        table.column(name).validate(full=name not in features)
    columns: dict[str, Column] = {}
    for modality in schema.modalities:
        column = table.column(modality.name)
        columns[modality.name] = column.to_pylist() if modality.kind == "text" else _ragged(column, modality)
    return Split(
        ids=table.column("id").to_pylist(),
        columns=columns,
        present={n: table.column(f"present/{n}").to_numpy() for n in schema.names},
        targets={t.name: _labels(table.column(f"target/{t.name}"), t) for t in schema.targets},
        groups=table.column("group").to_pylist() if "group" in table.column_names else (),
        domains=table.column("domain").to_numpy() if "domain" in table.column_names else None,
        ratings={
            t.name: _ratings(table.column(f"ratings/{t.name}"))
            for t in schema.targets
            if f"ratings/{t.name}" in table.column_names
        },
        about={n.removeprefix(ABOUT): table.column(n).to_pylist() for n in table.column_names if n.startswith(ABOUT)},
    )


def _ragged(column: Any, modality: Modality) -> Ragged:
    step, dtype = at_rest(modality)
    chunks = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=True).reshape(-1, *step)
        chunks.append((values, chunk.offsets.to_numpy() // math.prod(step)))
    return Ragged(chunks or [(np.zeros((0, *step), dtype), np.zeros(1, np.int64))])


def _ratings(column: Any) -> dict[str, np.ndarray[Any, Any]]:
    names = [column.type.field(i).name for i in range(column.type.num_fields)]
    return dict(zip(names, (part.to_numpy() for part in column.flatten()), strict=True))


def _labels(column: Any, target: Target) -> np.ndarray[Any, Any]:
    spec, rows = target.spec, len(target.spec.label.row)
    plain = column.to_pylist() if rows else column.to_numpy()  # Arrow's lists come as arrays of arrays
    return spec.labels(np.reshape(plain, (-1, *spec.label.row)))
