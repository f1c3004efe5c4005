"""What the readers of ``corpora.py`` share: files, folds, features that are kept on disk."""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError, OptionError, Schema
from polymodal.data.corpus import Corpus
from polymodal.data.encode import cache_folder
from polymodal.data.ragged import Array
from polymodal.data.split import build_split


def shared_folder() -> Path:
    """Return ``$POLYMODAL_SHARED``, else the folder ``shared`` beside the repository."""
    return Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def data_folder(name: str) -> Path:
    """Return the folder of a corpus; DataError where it is not there."""
    folder = shared_folder() / "data" / name
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; set POLYMODAL_SHARED to the folder that holds data/{name}")
    return folder


def read_table(file: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]}


def read_arrays(file: Path) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file."""
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def rows_of(values: Array, offsets: Array) -> list[Array]:
    """Cut ``values`` (steps, ...) at ``offsets`` (rows + 1,)."""
    return np.split(values, offsets[1:-1])


def dealt(
    name: str,
    schema: Schema,
    *,
    ids: Sequence[str],
    split: Sequence[str],
    columns: Mapping[str, Sequence[Any] | Array],
    targets: Mapping[str, Array],
    groups: Sequence[str] = (),
    notes: tuple[str, ...] = (),
    about: Mapping[str, Sequence[str]] = {},
) -> Corpus:
    """Deal rows to train, valid and test by ``split``; rows of any other value are left out."""
    splits = {}
    for part in ("train", "valid", "test"):
        rows = [i for i, value in enumerate(split) if value == part]
        splits[part] = build_split(
            schema,
            [ids[i] for i in rows],
            {n: [column[i] for i in rows] for n, column in columns.items()},
            {n: labels[rows] for n, labels in targets.items()},
            [groups[i] for i in rows] if len(groups) else (),
            about={n: [values[i] for i in rows] for n, values in about.items()},
        )
    return Corpus(name, f"benchmarks/corpora.py:{name}", schema, splits, notes).check()


def rotated(folds: Sequence[int], fold: int, count: int) -> list[str]:
    """Return the split of every sample: test in ``fold``, valid in the next one, train elsewhere.

    Args:
        folds: each sample's own, 0 to ``count`` - 1; -1 for one that is always in train.

    Raises:
        OptionError: there is no such ``fold``.
    """
    if fold not in range(count):
        raise OptionError(f"fold must be a whole number from 0 to {count - 1}, got {fold}")
    parts = {fold: "test", (fold + 1) % count: "valid"}
    return [parts.get(own, "train") for own in folds]


def kept(name: str, key: Sequence[object], make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    """Return the arrays that ``make`` returns, kept in polymodal's cache as long as ``key`` stays the same."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).hexdigest()[:24]
    file = cache_folder() / "corpora" / f"{name}-{digest}.npz"
    if not file.is_file():
        arrays = make()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent, prefix=".partial-") as partial:
                np.savez(Path(partial) / file.name, **arrays)
                (Path(partial) / file.name).replace(file)
        except OSError as error:
            raise DataError(
                f"cannot write the cache {file.parent}: {error.strerror or error}; "
                "set POLYMODAL_CACHE to another folder"
            ) from None
    return read_arrays(file)
