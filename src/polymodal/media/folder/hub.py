"""Clips of a data set on a hub as a folder of files with a table beside them, which is read like any other."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from polymodal.core import DataError
from polymodal.core.options import options_of, read_options, split_source
from polymodal.data.encode import cache_folder
from polymodal.data.progress import progress_bar
from polymodal.data.tabular.hub import Hub, open_hub

TABLE = "clips.csv"


def fetched(source: str) -> tuple[str, Path, frozenset[str]]:
    """Return the pinned source, a folder with its clips and their table, in the cache, and the declared columns of it.

    Args:
        source: ``hf:owner/name@revision?config=...&split=...&clip=COLUMN``; the options are those of ``open_hub``, and
            the column of sound or video.

    Raises:
        DataError: no such data set, or none with clips.
        OptionError: an option that there is not.
    """
    place, given = split_source(source)
    options = read_options(source, given, options_of(_open, 1), text=True)
    hub, clip = _open(place.removeprefix("hf:"), **options)
    prints = [str(data._fingerprint) for data in hub.splits.values()]
    key = sha256("|".join([hub.source, clip, *hub.splits, *prints]).encode()).hexdigest()[:16]
    folder = cache_folder() / "clips" / key / hub.name
    if not (folder / TABLE).is_file():
        try:
            _fetch(hub, clip, folder)
        except OSError as error:
            raise DataError(
                f"{source} cannot be kept in {folder}: {error.strerror or error}; free space, or set "
                "POLYMODAL_CACHE to another folder"
            ) from None
    query = source[len(place) :]
    return hub.source + query, folder, hub.declared


def _open(
    place: str, *, config: str | None = None, split: tuple[str, ...] | None = None, clip: str | None = None
) -> tuple[Hub, str]:
    hub = open_hub(place, config, split)
    media = [name for name, kind in hub.kinds.items() if kind == "media"]
    if clip is None and len(media) > 1:
        raise DataError(f"{hub.source} has several columns of sound or video ({', '.join(media)}); choose with clip=")
    if not media:
        raise DataError(
            f"{hub.source} has neither sound nor video (its columns: {', '.join(hub.kinds)}); read it as it is: "
            f"polymodal data info {hub.source}"
        )
    return hub, hub.column(clip or media[0], "media")


def _fetch(hub: Hub, clip: str, folder: Path) -> None:
    """Write the clips, then the table: where it is, all of them are there."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    table, rows = hub.table, []
    with progress_bar() as bar:
        task = bar.add_task(f"clips of {hub.name}", total=len(table.rows))
        stored = ((split, i, held) for split, data in hub.splits.items() for i, held in enumerate(data[clip]))
        for row, (split, i, held) in zip(table.rows, stored, strict=True):
            bar.advance(task)
            if held is not None:
                rows.append({"clip": _kept(held, folder / "clips" / f"{split}-{i}"), **row})
    columns = ["clip", *(c for c in table.columns if c not in ("clip", "split") or len(hub.splits) > 1)]
    write_rows(rows, list(dict.fromkeys(columns)), folder / TABLE)


def write_rows(rows: Sequence[dict[str, str]], columns: Sequence[str], file: Path) -> None:
    """Write a table, whole or not at all; OSError as writing does."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, file)


def _kept(held: dict[str, Any], file: Path) -> str:
    """Write a clip and return its path relative to the table."""
    suffix = Path(held["path"] or "").suffix
    file = file.with_name(file.name + suffix)
    if not file.exists():
        partial = file.with_name(f".{file.name}.partial")
        if held["bytes"] is None:
            shutil.copyfile(held["path"], partial)
        else:
            partial.write_bytes(held["bytes"])
        os.replace(partial, file)
    return f"clips/{file.name}"
