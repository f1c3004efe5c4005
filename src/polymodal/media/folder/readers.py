"""Tracks of features that other tools have written: OpenFace CSV, openSMILE CSV and ARFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.media.folder.feature_table import Table, is_numeric, numbers, read_table
from polymodal.media.types import Track

_OPENFACE = ("frame", "face_id", "timestamp", "confidence", "success")
_OPENSMILE = ("name", "file", "frameindex", "frametime", "start", "end", "class")


def read_track(path: str | Path) -> tuple[Track, tuple[str, ...]]:
    """Return the track in a file and the names of its features.

    - OpenFace 2 CSV: times are its timestamps; a last feature ``tracked`` is 0 where ``success`` is 0, and so are all
      others. Of several faces the one with most successful frames is taken.
    - openSMILE CSV (``;``, ``,`` or tab) and ARFF: times are ``frameTime``, where openSMILE's windows begin.
    - CSV of the opensmile package: times are the middle between ``start`` and ``end``.
    - Functionals, one row without a time, are at 0.

    Columns of names, of text, and ``class`` are left out.

    Raises:
        DataError: with file and line: no such file, not UTF-8, no header, no rows, a column missing, a row of another
            length, a cell that is not a finite number, times that go back, several recordings in one file.
    """
    table = read_table(Path(path))
    return _openface(table) if {"success", "confidence"} & set(table.keys) else _opensmile(table)


def _openface(table: Table) -> tuple[Track, tuple[str, ...]]:
    success = table.numbers("success") == 1
    times = table.numbers("timestamp")
    kept = np.ones(len(times), bool)
    if "face_id" in table.keys:
        _, face = np.unique(table.numbers("face_id"), return_inverse=True)
        kept = face == np.bincount(face, weights=success).argmax()
    rows = np.flatnonzero(kept)
    table.check_times(times[rows], rows)
    # All of them: what OpenFace could not measure in a whole file must not make its width another.
    features, names = table.features([i for i, key in enumerate(table.keys) if key not in _OPENFACE], kept & success)
    values = np.zeros((len(rows), len(names) + 1), np.float32)
    values[success[rows], :-1] = features
    values[:, -1] = success[rows]
    return Track(times[rows], values), (*names, "tracked")


def _opensmile(table: Table) -> tuple[Track, tuple[str, ...]]:
    for key in {"file", "name"} & set(table.keys):
        recording = table.columns[table.keys.index(key)].cast("string").fill_null("").to_numpy()
        if (other := recording != recording[0]).any():
            table.fail(int(other.argmax()), "another recording begins; a track is of one, so write one file for each")
    rows = np.arange(len(table.lines))
    if "frametime" in table.keys:
        times = table.numbers("frametime")
    elif {"start", "end"} <= set(table.keys):
        times = (_seconds(table, "start") + _seconds(table, "end")) / 2
    elif len(rows) == 1:
        times = np.zeros(1)
    else:
        raise DataError(f"{table.path}, line {table.header}: {len(rows)} rows but no column 'frameTime'; write it too")
    table.check_times(times, rows)
    kept = [
        i
        for i, (key, column) in enumerate(zip(table.keys, table.columns, strict=True))
        if key not in _OPENSMILE and (is_numeric(column) or np.isfinite(numbers(column)).any())
    ]
    values, names = table.features(kept, np.ones(len(rows), bool))
    return Track(times, values), names


def _seconds(table: Table, key: str) -> Array:
    """Return a column of seconds, or of times such as ``0 days 00:00:00.01``."""
    import pandas as pd

    column = table.columns[table.keys.index(key)]
    if is_numeric(column):
        return numbers(column)
    spans = pd.to_timedelta(column.cast("string").to_pandas(), errors="coerce")
    return spans.dt.total_seconds().to_numpy(np.float64)
