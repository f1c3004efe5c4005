"""What is in one ``.csd`` file: HDF5 groups, entries, widths, seconds; any damage is reported with the file's name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError
from polymodal.data.columns import name_of, word_of
from polymodal.data.ragged import Array

_ROLES = {
    "labels": ("label", "opinion"),
    "text": ("word", "text", "transcript", "glove", "bert", "phone"),
    "audio": ("covarep", "opensmile", "audio", "acoustic", "librosa"),
    "vision": ("facet", "openface", "vision", "visual", "video"),
}
PAUSES = ("sp", "")
"""Words that stand for silence."""
_QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class Track:
    """One computational sequence: its file, the name of its root group, and its part in a corpus."""

    file: Path
    root: str
    role: str


def tracks(path: Path) -> list[Track]:
    """Return the computational sequences in a file or folder; two of the same role are named after their files."""
    files = sorted(path.glob("*.csd")) if path.is_dir() else [path]
    found: list[Track] = []
    for file in files:
        with opened(file) as content:
            roots = [n for n, group in content.items() if hasattr(group, "items") and "data" in group]
            if not roots:
                raise DataError(f"{file} has no group with 'data'; it is HDF5, but not a computational sequence")
        for root in roots:
            role = _role(f"{printable(root)} {file.stem}")
            taken = role is None or role in [s.role for s in found if role != "labels"]
            found.append(Track(file, root, file.stem if taken or role is None else role))
    return found


def _role(names: str) -> str | None:
    return next((role for role, words in _ROLES.items() if any(w in names.lower() for w in words)), None)


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Open an HDF5 file; whatever goes wrong while it is read becomes a DataError that names it."""
    import h5py

    if not file.is_file():
        raise DataError(f"{file} does not exist or is not a file; check the path")
    try:
        with h5py.File(file, "r") as content:
            yield content
    except (OSError, LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{file} is damaged or not a computational sequence ({reason}); download it again") from None


def printable(name: str) -> str:
    """Return a name that can be printed: h5py keeps bytes that are not UTF-8 as surrogates."""
    return name.encode("utf-8", "replace").decode()


def read_entry(group: Any, file: Path) -> tuple[Array, Array]:
    """Return features (steps, width) and intervals (steps, 2) of one entry."""
    values = np.asarray(group["features"][()])
    if values.dtype.kind not in "biufSOU":
        raise DataError(
            f"{file}: entry {printable(group.name)!r} holds {values.dtype.name}, expected real numbers or words; write "
            "it again"
        )
    intervals = np.asarray(group["intervals"][()], dtype=np.float64)
    values = values.reshape(len(values), math.prod(values.shape[1:]))
    if intervals.shape != (len(values), 2):
        raise DataError(
            f"{file}: entry {printable(group.name)!r} has {len(values)} steps, but intervals {intervals.shape}; "
            "every step needs a start and an end"
        )
    return values, intervals


def describe(path: Path) -> dict[str, Any]:
    """Return plain data about the sequences in a ``.csd`` file or folder, labels or not.

    Raises:
        DataError: no such file, or no computational sequence.
    """
    return {"source": str(path), "sequences": [_describe(s) for s in tracks(path)]}


def _describe(sequence: Track) -> dict[str, Any]:
    steps, seconds, width, kind, pauses = [], 0.0, 0, "numbers", 0
    with opened(sequence.file) as content:
        root = content[sequence.root]
        for group in root["data"].values():
            values, intervals = read_entry(group, sequence.file)
            steps.append(len(values))
            width = values.shape[1] if values.size else width
            if len(values):
                seconds += float(intervals.max() - intervals.min())
            if values.dtype.kind in "SOU":
                kind = "words"
                pauses += sum(word_of(w, f"{sequence.file}: a word") in PAUSES for w in values[:, 0])
        metadata = _metadata(root)
    return {
        "file": sequence.file.name,
        "name": printable(sequence.root),
        "role": sequence.role,
        "kind": kind,
        "entries": len(steps),
        "width": width,
        "steps": int(np.sum(steps)),
        "lengths": {name: float(np.quantile(steps or [0], q)) for name, q in _QUANTILES.items()},
        "seconds": seconds,
        "pauses": int(pauses),
        "metadata": metadata,
    }


def _metadata(root: Any) -> dict[str, str]:
    """Return the first value of each metadata field that can be read; they are often filled with anything."""
    fields = {}
    for name in root.get("metadata", ()):
        try:
            fields[printable(name)] = printable(name_of(np.ravel(root["metadata"][name][()])[0], name))[:200]
        except (DataError, OSError, KeyError, IndexError, RuntimeError, TypeError, ValueError, AttributeError):
            continue
    return fields
