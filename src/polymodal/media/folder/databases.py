"""Databases of audb as a table of clips, which is read like any other."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from polymodal.core import DataError, OptionError, nearest
from polymodal.core.options import options_of, read_options, split_source
from polymodal.data.columns import split_name
from polymodal.data.encode import cache_folder
from polymodal.media.folder.hub import TABLE, write_rows


def fetched(source: str) -> tuple[str, Path, frozenset[str]]:
    """Return the source with its version, a folder with a table of its files, which audb keeps in its own cache, and no
    declared columns (see ``tabular.table.Table``).

    Args:
        source: ``audb:NAME@VERSION?table=NAME,NAME``; default the newest version, and its only table of emotions or the
            like. ``train``, ``dev`` or ``test`` in the name of a table is the split of its rows; what tables of whole
            files say of a file, such as the speaker, stands beside.

    Raises:
        DataError: no such database or table, or it cannot be had.
        OptionError: audb is not installed, or an option that there is not.
    """
    place, given = split_source(source)
    options = read_options(source, given, options_of(_rows, 1), text=True)
    name, _, version = place.removeprefix("audb:").partition("@")
    data, version = _load(name, version)
    source = f"audb:{name}@{version}{source[len(place) :]}"
    rows = _rows(data, **options)
    folder = cache_folder() / "clips" / sha256(source.encode()).hexdigest()[:16] / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(rows, list(dict.fromkeys(column for row in rows for column in row)), folder / TABLE)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}; free space, or set POLYMODAL_CACHE") from None
    return source, folder, frozenset()


def _load(name: str, version: str) -> tuple[Any, str]:
    """Return the database with its files, and its version."""
    try:
        import audb
    except ImportError:
        raise OptionError("databases of audb need it; pip install 'polymodal[audb]'") from None
    try:
        version = version or audb.latest_version(name)
        return audb.load(name, version=version, pickle_tables=False), version
    except (RuntimeError, OSError, ValueError) as error:
        hint = "" if "annot find" in str(error) else "; check the network and the repositories in ~/.audb.yaml"
        raise DataError(f"audb:{name} cannot be had: {' '.join(str(error).split())[:300]}{hint}") from None


def _rows(data: Any, *, table: tuple[str, ...] | None = None) -> list[dict[str, str]]:
    """Return a row per labelled file or stretch of one, with what is known of the whole file."""
    whole = {n: t for n, t in data.tables.items() if t.type == "filewise" and n not in (table or ())}
    chosen = list(table or _only(data))
    for name in chosen:
        if name not in data.tables:
            raise DataError(f"{data.name} has no table {name!r}{nearest(name, data.tables)}")
    beside: dict[str, dict[str, str]] = {}
    for found in whole.values():
        for file, row in found.get().iterrows():
            beside.setdefault(str(file), {}).update({c: _cell(v) for c, v in row.items()})
    rows = []
    for name in chosen:
        parts = [split_name(part) for part in name.split(".")]
        split = next((part for part in parts if part in ("train", "valid", "test")), "")
        for index, row in data[name].get().iterrows():
            file, start, end = index if isinstance(index, tuple) else (index, None, None)
            times = {} if start is None else {"start": f"{start.total_seconds():g}"}
            times |= {} if end is None or end != end else {"end": f"{end.total_seconds():g}"}  # NaT is not itself
            said = {c: _cell(v) for c, v in row.items()}
            rows.append(
                {"clip": str(file)} | times | beside.get(str(file), {}) | said | ({"split": split} if split else {})
            )
    return rows


def _only(data: Any) -> list[str]:
    """Return the one table that is no list of files; DataError where there are several."""
    named = [name for name in data.tables if name != "files"]
    if len(named) != 1:
        raise DataError(f"{data.name} has several tables; choose with ?table= (available: {', '.join(data.tables)})")
    return named


def _cell(value: Any) -> str:
    return "" if value is None or value != value else str(value)
