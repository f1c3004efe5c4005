"""What is known of each sample beside its features and labels: sex, age, site. No model reads it, audits do."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError, nearest
from polymodal.data.corpus import Corpus, derived_hash
from polymodal.data.split import Split

KEYS = ("id", "group")
"""Columns by which a table finds its samples, the first that it has."""

UNKNOWN = "unknown"
"""The domain of samples of which nothing is known."""


def column_of(corpus: Corpus, split: str, name: str) -> Sequence[str]:
    """Return what is known of each sample of ``split``, ``(rows,)``, "" where nothing; DataError without the column."""
    about = corpus[split].about
    if name not in about:
        raise DataError(
            f"{corpus.source} has no column {name!r} about the samples of {split}{nearest(name, about)}; bring a table "
            "with it: SOURCE?about=people.csv"
        )
    return about[name]


def with_table(corpus: Corpus, file: str | Path) -> Corpus:
    """Return the corpus with the columns of a table about its samples, or about its groups (speakers, videos).

    Args:
        file: CSV or Parquet with a column ``id`` or ``group`` and any others. Samples that it does not name have "".

    Raises:
        DataError: no such file, no column to find samples by, a sample or group twice, or none of the corpus.
    """
    place = Path(file)
    rows = _rows(place)
    key = next((k for k in KEYS if rows and k in rows[0]), None)
    if key is None:
        raise DataError(f"{place} has neither a column 'id' nor a column 'group'; name the sample or group of each row")
    known: dict[str, Mapping[str, str]] = {}
    for row in rows:
        if row[key] in known:
            raise DataError(f"{place} has the {key} {row[key]!r} twice; keep one row of it")
        known[row[key]] = row
    names = [name for name in rows[0] if name not in KEYS]
    splits = {name: _joined(split, key, known, names) for name, split in corpus.splits.items()}
    if not any(value for split in splits.values() for name in names for value in split.about[name]):
        raise DataError(f"{place} names no {key} of {corpus.source}; its column {key!r} must hold the corpus's own")
    return replace(corpus, splits=splits)


def _joined(split: Split, key: str, known: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> Split:
    owners = split.ids if key == "id" else split.groups or [""] * len(split)
    found = {name: [known.get(owner, {}).get(name, "") for owner in owners] for name in names}
    return replace(split, about={**split.about, **found})


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise DataError(f"there is no table {file}; check the path, which is relative to where you are")
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            plain: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        else:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream)
                plain = []
                for row in reader:
                    if None in row:
                        raise DataError(
                            f"{file}, line {reader.line_num} has more cells than the first line has names; put cells "
                            'with commas in quotes: "a, b"'
                        )
                    plain.append(row)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a table ({error}); give a CSV or Parquet file") from None
    return [{str(k): "" if v is None else str(v).strip() for k, v in row.items() if k} for row in plain]


def with_domains(corpus: Corpus, column: str) -> Corpus:
    """Return the corpus with the values of a column as its domains; where a sample has none, ``UNKNOWN``.

    Raises:
        DataError: no such column, domains already, or one value only.
    """
    if corpus.schema.domains:
        raise DataError(f"{corpus.source} has domains already; leave out domain={column}")
    values = {name: [v or UNKNOWN for v in column_of(corpus, name, column)] for name in corpus.splits}
    names = sorted({v for found in values.values() for v in found})
    if len(names) < 2:
        raise DataError(
            f"{corpus.source}: {column} is {names[0]!r} throughout, nothing to tell apart; leave out domain="
        )
    schema = replace(corpus.schema, domains=tuple(names))
    splits = {
        name: replace(split, domains=np.array([names.index(v) for v in values[name]], np.int64))
        for name, split in corpus.splits.items()
    }
    told = (f"{name}: {value}" for name, found in values.items() for value in found)
    content = corpus.stored_hash and derived_hash(corpus.stored_hash, "domain", column, *told)
    return replace(corpus, schema=schema, splits=splits, stored_hash=content)
