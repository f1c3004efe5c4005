"""The folder of an extraction that is not finished, beside the store that will be: opened, cleared, removed."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from polymodal.core import DataError, RunError
from polymodal.core.locks import locked
from polymodal.core.records import read_record
from polymodal.data.store import described, is_store, refuse_taken
from polymodal.media.folder.manifest import Manifest
from polymodal.media.folder.parts import cannot_write

MARK = "extract.json"
LOCK = ".lock"
FAILED = "failed.csv"


class _MarkRecord(TypedDict):
    """``extract.json``: whose this is."""

    source: str


def open_partial(folder: Path, manifest: Manifest) -> Path:
    """Return the folder for what is not finished of the store ``folder``, made or found.

    Raises:
        DataError: the store is there; it cannot be written; it is something else.
    """
    partial = folder.with_name(f"{folder.name}.partial").absolute()
    _clear_finished(folder, partial)
    refuse_taken(folder)
    if not (partial / MARK).is_file() and not _empty(partial):
        raise DataError(f"{partial} exists and is not an unfinished extraction; move it away or choose another folder")
    try:
        (partial / "parts").mkdir(parents=True, exist_ok=True)
        (partial / MARK).write_text(json.dumps({"source": manifest.source}))
    except OSError as error:
        raise cannot_write(partial, error) from None
    return partial


def clear(partial: Path) -> None:
    """Remove all but whole parts; what a killed process was writing bears its number."""
    for folder in (partial / "raw", partial / "store", *partial.glob(".store.partial-*")):
        shutil.rmtree(folder, ignore_errors=True)
    for half in partial.glob("parts/*.safetensors.*"):
        half.unlink(missing_ok=True)


def remove(partial: Path) -> None:
    """Remove the folder, its mark last of what is in it: without that nobody would know whose the rest is.

    Raises:
        OSError: something cannot be removed.
    """
    if (partial / "parts").is_dir():
        shutil.rmtree(partial / "parts")
    (partial / FAILED).unlink(missing_ok=True)
    shutil.rmtree(partial)


def _clear_finished(store: Path, partial: Path) -> None:
    """Remove what an extraction that was killed while it removed its parts has left beside its whole store.

    Parts stay where a clip of the store has failed, where another process holds them, or where they are of another
    source: they may be needed.
    """
    if not partial.is_dir() or not is_store(store) or (store / FAILED).is_file():
        return
    with suppress(RunError, FileNotFoundError, DataError), locked(partial / LOCK, busy="is at work"):
        about = described(store)
        mark = partial / MARK
        known = mark.is_file() and read_record(mark, _MarkRecord, "remove it", DataError)["source"] == about.get(
            "source"
        )
        if about.get("extraction") and (known or _empty(partial)):
            clear(partial)
            with suppress(OSError):
                remove(partial)


def _empty(partial: Path) -> bool:
    """Whether there are folders and a lock at most: of one killed before it made its mark, or while it removed all."""
    return not any(path for path in partial.rglob("*") if not path.is_dir() and path.name != LOCK)
