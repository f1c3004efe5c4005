"""Tables of numbers in CSV and ARFF files, with the line of every row for messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
        names: of the columns.
        columns: Arrow arrays, one value per row.
        lines: line of the file in which each row stands; ``header`` is that of the names.
    """

    path: Path
    names: list[str]
    columns: list[Any]
    lines: list[int]
    header: int

    @property
    def keys(self) -> list[str]:
        """Names of the columns in lower case."""
        return [n.lower() for n in self.names]

    def fail(self, row: int, message: str) -> NoReturn:
        """Raise DataError with the line of ``row``."""
        raise DataError(f"{self.path}, line {self.lines[row]}: {message}")

    def numbers(self, key: str) -> Array:
        """Return a column as float64; DataError where it is missing."""
        if key not in self.keys:
            raise DataError(f"{self.path}, line {self.header}: no column {key!r}; write the file again with it")
        return numbers(self.columns[self.keys.index(key)])

    def features(self, columns: list[int], used: Array) -> tuple[Array, tuple[str, ...]]:
        """Return ``columns`` of the rows ``used`` (rows,) bool as (used rows, columns) float32, and their names."""
        if not columns:
            raise DataError(f"{self.path}, line {self.header}: no column of numbers; is this a file of features?")
        found = np.empty((int(used.sum()), len(columns)), np.float32)
        for place, column in enumerate(columns):
            with np.errstate(over="ignore"):
                values = numbers(self.columns[column]).astype(np.float32)
            if (bad := ~np.isfinite(values) & used).any():
                row = int(bad.argmax())
                cell = str(self.columns[column][row].as_py() or "nothing")[:40]
                self.fail(
                    row, f"column {self.names[column]!r} holds {cell}, no finite number; correct or remove the row"
                )
            found[:, place] = values[used]
        return found, tuple(self.names[c] for c in columns)

    def check_times(self, times: Array, rows: Array) -> None:
        """Raise DataError unless ``times`` of ``rows`` are finite and ascending."""
        if not np.isfinite(times).all():
            self.fail(int(rows[~np.isfinite(times)][0]), "no time; correct it or remove the row")
        if (back := np.diff(times) < 0).any():
            later = int(back.argmax()) + 1
            self.fail(int(rows[later]), f"time {times[later]:g} is before that of the row above; sort the rows by time")


def is_numeric(column: Any) -> bool:
    """Return whether every value of an Arrow array is a number (or missing)."""
    import pyarrow as pa

    return pa.types.is_integer(column.type) or pa.types.is_floating(column.type)


def numbers(column: Any) -> Array:
    """Return a column as float64, NaN where it holds something else."""
    import pandas as pd

    if is_numeric(column):
        return column.cast("float64", safe=False).to_numpy()
    return pd.to_numeric(column.cast("string").to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)


def read_table(path: Path) -> Table:
    """Return the table in a CSV or ARFF file."""
    lines = [line.removesuffix("\r") for line in _text(path).split("\n")]
    filled = [n for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("%")]
    if not filled:
        raise DataError(f"{path} is empty; write it again")
    header = filled[0]
    if lines[header - 1].lstrip().lower().startswith("@relation"):
        header, names = _arff_header(path, lines)
        delimiter, quote = ",", "'"
    else:
        delimiter, quote = max(";,\t", key=lines[header - 1].count), '"'
        names = [n.strip(" \"'") for n in lines[header - 1].split(delimiter)]
        if any(re.fullmatch(r"-?\d+\.\d+(e[+-]?\d+)?", n) for n in names):
            raise DataError(f"{path}, line {header}: no names of columns; write the file again with a header")
    rows = [n for n in filled if n > header]
    if not rows:
        raise DataError(f"{path}, line {header}: no rows after the names of the columns; write the file again")
    body = "\n".join(lines[n - 1] for n in rows)
    return Table(path, names, _parse(path, body, names, rows, delimiter, quote), rows, header)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give a CSV or ARFF file of features") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text; give a CSV or ARFF file of features") from None


def _arff_header(path: Path, lines: list[str]) -> tuple[int, list[str]]:
    """Return the line of ``@data`` and the names of the attributes; SciPy's reader refuses text attributes."""
    names = []
    for n, line in enumerate(lines, 1):
        if found := re.match(r"\s*@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+\S", line, re.IGNORECASE):
            names.append(found[1].strip("\"'"))
        elif line.strip().lower() == "@data":
            return n, names
    raise DataError(f"{path}, line {len(lines)}: no @data before the end; write the file again")


def _parse(path: Path, body: str, names: list[str], lines: list[int], delimiter: str, quote: str) -> list[Any]:
    """Return the columns of ``body``."""
    import pyarrow as pa
    from pyarrow import csv

    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append(row)
        return "skip"

    data = body.encode()
    numbered = [str(i) for i in range(len(names))]
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            # One block, so that the type of a column is that of all its rows.
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=numbered),
            csv.ParseOptions(delimiter=delimiter, quote_char=quote, invalid_row_handler=note),
            csv.ConvertOptions(null_values=[""]),  # "NaN" is a mistake to be shown, not a gap
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}, line {lines[0]} or later: {str(error).splitlines()[0]}; write the file again"
        ) from None
    if table.num_rows + len(ragged) != len(lines):
        odd = [n for n, line in zip(lines, body.split("\n"), strict=True) if line.count(quote) % 2]
        raise DataError(f"{path}, line {(odd or lines)[0]}: a quotation mark is not closed; write the file again")
    if ragged:
        line = lines[ragged[0].number - 1]
        raise DataError(
            f"{path}, line {line}: {ragged[0].actual_columns} values for {len(names)} columns; write the file again"
        )
    return list(table.columns)
