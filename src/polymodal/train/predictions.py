"""Predictions as one table, which evaluations and benchmarks write and all others read.

One row per sample, seed and condition: ``seed``, ``fold`` (in a run of folds; null: the mean of all), ``split``,
``condition`` (as ``stress.conditions`` spells it), ``id``, ``group`` (where groups are known), then for each target
``<target>/true``, ``<target>/predicted``, for classes ``<target>/probability``, and of a method that certifies what it
says ``<target>/radius``. Targets stand beside each other because their values have different types.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.core.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "predictions.parquet"

EVERY = -1
"""In the column ``fold`` of what is predicted: the mean over the members of all folds."""

Array = np.ndarray[Any, Any]
Columns = dict[str, Array]


def as_table(columns: Columns, *, seed: int, split: str, condition: str) -> pa.Table:
    """Return what one seed predicts for a split in one condition."""
    import pyarrow as pa

    rows = len(columns["id"])
    data: dict[str, Any] = {
        "seed": pa.array([seed] * rows, pa.int64()),
        "split": pa.array([split] * rows).dictionary_encode(),
        "condition": pa.array([condition] * rows).dictionary_encode(),
    }
    for name, values in columns.items():
        if name == "fold":
            data[name] = pa.array(values, pa.int64(), mask=values == EVERY)
        else:
            plain = values.tolist() if name in ("id", "group") else values
            data[name] = pa.array(list(values) if values.ndim > 1 else plain)
    return pa.table(data)


def write_table(tables: Sequence[pa.Table], file: Path) -> None:
    """Write ``tables``, one after another, as ``file``, whole or not at all; OSError as writing does."""
    import pyarrow as pa
    from pyarrow import parquet

    partial = file.with_name(f".{file.name}.partial")
    parquet.write_table(pa.concat_tables([t.unify_dictionaries() for t in tables]), partial, compression="zstd")
    os.replace(partial, file)


def read_table(file: Path, remedy: str = "", **where: str) -> pa.Table:
    """Return the rows of ``file`` whose columns have the values ``where``.

    Raises:
        RunError: it cannot be read; ``remedy`` says what makes it anew, without one the evaluation of its run.
    """
    from pyarrow import ArrowException, parquet

    try:
        return parquet.read_table(file, filters=[(name, "==", value) for name, value in where.items()] or None)
    except (ArrowException, OSError, ValueError) as error:
        remedy = remedy or f"run polymodal evaluate on {file.parent.parent} again"
        raise RunError(f"{file} cannot be read ({error}); {remedy}") from None


def column(table: pa.Table, name: str) -> Array:
    """Return a column as an array: a row per sample, text as text, vectors as a matrix."""
    import pyarrow as pa

    if name not in table.column_names:
        raise RunError(f"the predictions have no column {name!r}; run polymodal evaluate again")
    chunked = table[name].combine_chunks()
    held = chunked.type
    if pa.types.is_list(held):
        values: Array = np.asarray(chunked.flatten()).reshape(len(chunked), -1)
        return values
    if pa.types.is_floating(held) or pa.types.is_integer(held) or pa.types.is_boolean(held):
        return chunked.to_numpy(zero_copy_only=False)
    return np.asarray(chunked.to_pylist())
