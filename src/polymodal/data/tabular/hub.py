"""Data sets of the Hugging Face hub, or folders in their formats, opened as tables; nothing in them can run.

``owner/name``, ``owner/name@revision`` or a folder that ``datasets`` reads (Parquet, Arrow, CSV, JSON, sound or video
with ``metadata.csv``). A branch or tag is resolved to the commit that it names now, which is part of the source from
then on.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polymodal.core import DataError, nearest
from polymodal.data.columns import as_array, split_name
from polymodal.data.ragged import Array
from polymodal.data.tabular.table import Table, Words

Kind = Literal["cell", "vector", "sequence", "media", "other"]
"""What a column holds: a value of a table, numbers ``(width,)``, ``(time, width)``, sound or video, anything else."""

_SAID: dict[Kind, str] = {
    "cell": "a plain value",
    "vector": "numbers",
    "sequence": "numbers in steps",
    "media": "sound or video",
    "other": "nothing that can be read here",
}

WORDS = Words("row", "label=", "range=")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class Hub:
    """A data set.

    Attributes:
        source: ``hf:owner/name@commit``, or ``hf:folder``.
        name: short.
        splits: our name of each -> a ``datasets.Dataset``.
        kinds: column -> what it holds; the same in all splits.
    """

    source: str
    name: str
    splits: dict[str, Any]
    kinds: dict[str, Kind]

    @property
    def declared(self) -> frozenset[str]:
        """The columns that hold names of classes."""
        return frozenset(c for data in self.splits.values() for c, f in data.features.items() if hasattr(f, "int2str"))

    @property
    def table(self) -> Table:
        """The columns of plain values as text, all splits one after another, with a column ``split``."""
        columns = tuple(name for name, kind in self.kinds.items() if kind == "cell" and name != "split")
        rows: list[dict[str, str]] = []
        for split, data in self.splits.items():
            plain = data.select_columns(list(columns))
            named = {c: f.int2str for c, f in plain.features.items() if hasattr(f, "int2str")}
            for found in plain:
                rows.append({c: _cell(found[c], named.get(c)) for c in columns} | {"split": split})
        lines = tuple(range(1, len(rows) + 1))
        return Table(Path(self.source), (*columns, "split"), tuple(rows), lines, WORDS, self.declared)

    def column(self, name: str, *kinds: Kind) -> str:
        """Return the column called ``name`` if it is of one of ``kinds``; DataError that names those that are."""
        fitting = [n for n, kind in self.kinds.items() if kind in kinds]
        if name in fitting:
            return name
        fault = (
            f"no column {name!r}"
            if name not in self.kinds
            else f"a column {name!r}, which is {_SAID[self.kinds[name]]}"
        )
        raise DataError(f"{self.source} has {fault}{nearest(name, fitting)}")

    def numbers(self, name: str) -> list[Array | None]:
        """Return ``(width,)`` or ``(time, width)`` per row of the column ``name``, all splits one after another.

        A row without any number is None, a number or a step that is null NaN.

        Raises:
            DataError: steps of different width in one row.
        """
        return [
            _numbers(scalar, f"{self.source}: {name} of row {row} of {split}")
            for split, data in self.splits.items()
            for row, scalar in enumerate(data.select_columns([name]).with_format("arrow")[:][name], 1)
        ]


def open_hub(place: str, config: str | None = None, split: tuple[str, ...] | None = None) -> Hub:
    """Return the data set ``place``.

    Args:
        config: name of its configuration, where it has several.
        split: those to read, ``NAME`` or ``NAME:OURS``; default all.

    Raises:
        DataError: it does not exist, cannot be reached or read, or has no such configuration or split.
    """
    local = Path(place).is_dir()
    name, revision = (place, "") if local else _pinned(place)
    source = f"hf:{name}{f'@{revision}' if revision else ''}"
    found = _read(source, name, config, revision)
    if not found:
        raise DataError(f"{source} has no splits; check that the download is whole")
    chosen: dict[str, Any] = {}
    for part in split or found:
        theirs, _, ours = part.partition(":")
        if theirs not in found:
            raise DataError(f"{source} has no split {theirs!r}{nearest(theirs, found)}")
        ours = split_name(ours or theirs)
        if ours in chosen:
            raise DataError(
                f"{source}: two splits are both {ours!r} to us; choose with split={theirs}, or name one "
                f"split={theirs}:test2"
            )
        chosen[ours] = found[theirs]
    first = next(iter(chosen.values()))
    for data in chosen.values():
        if data.features.keys() != first.features.keys():
            raise DataError(f"{source}: splits have different columns; choose those that are alike with split=")
    kinds = {column: _shared_kind(source, column, chosen) for column in first.features}
    return Hub(source, Path(name).name, {n: _undecoded(data) for n, data in chosen.items()}, kinds)


def _shared_kind(source: str, column: str, splits: dict[str, Any]) -> Kind:
    """Return what ``column`` holds; DataError where that is not the same in all splits in which it holds anything."""
    found: dict[Kind, str] = {}
    for split, data in splits.items():
        feature = data.features[column]
        if getattr(feature, "dtype", "") != "null":
            found[_kind(feature)] = split
    if len(found) > 1:
        said = " and ".join(f"{_SAID[kind]} in {split}" for kind, split in found.items())
        raise DataError(f"{source}: column {column!r} is {said}; choose splits that are alike with split=")
    return next(iter(found), "cell")


def _pinned(place: str) -> tuple[str, str]:
    """Return the name and the commit that ``place`` stands for at this moment."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    failures: tuple[Any, ...] = (OSError, HfHubHTTPError, *(b for b in HfHubHTTPError.__bases__ if b is not Exception))
    name, _, revision = place.partition("@")
    if not _NAME.fullmatch(name):
        raise DataError(f"there is no folder {name}; a data set on a hub is named owner/name")
    try:
        return name, str(HfApi().dataset_info(name, revision=revision or None).sha)
    except GatedRepoError:
        raise DataError(
            f"the data set {name} is open to those who accept its terms; do that on its page, then run hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise DataError(f"the data set {name} has no revision {revision!r}; leave it out for the newest") from None
    except RepositoryNotFoundError:
        raise DataError(
            f"there is neither a folder {name} nor a data set {name} on the hub, or it is private: check "
            "the name, or run hf auth login"
        ) from None
    except failures as error:
        if _COMMIT.fullmatch(revision):  # what was once downloaded is in the cache
            return name, revision
        raise DataError(
            f"the hub cannot be reached to look for the data set {name} ({_short(error)}); where there is a network, "
            f"hf download {name} --repo-type dataset --local-dir FOLDER, then give hf:FOLDER"
        ) from None


def _read(source: str, name: str, config: str | None, revision: str) -> dict[str, Any]:
    """Return all splits under their own names."""
    import datasets

    quiet = datasets.utils.logging.get_verbosity()
    datasets.utils.logging.set_verbosity_error()
    try:
        if not revision and (Path(name) / "dataset_dict.json").is_file():
            return dict(datasets.load_from_disk(name))
        if not revision and (Path(name) / "state.json").is_file():
            return {"train": datasets.load_from_disk(name)}
        return dict(datasets.load_dataset(name, config, revision=revision or None))
    except (
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise DataError(f"{source} cannot be read as a data set: {_short(error)}{_advice(error)}") from None
    finally:
        datasets.utils.logging.set_verbosity(quiet)


def _advice(error: Exception) -> str:
    if "onfig name is missing" in str(error) or "BuilderConfig" in str(error):
        return "; choose with config=NAME"
    if isinstance(error, IndexError):  # what datasets says of tables without rows that it wrote itself
        return "; a split without rows cannot be read, leave it out of the data set"
    return "; check that the download is whole" if isinstance(error, (OSError, TypeError)) else ""


def _short(error: BaseException) -> str:
    while error.__cause__ is not None:  # datasets says what it was doing, its cause what went wrong
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__


def _undecoded(data: Any) -> Any:
    """Return ``data`` with sound and video as the bytes that were stored."""
    for name, feature in data.features.items():
        if _kind(feature) == "media":
            data = data.cast_column(name, type(feature)(decode=False))
    return data


def _kind(feature: Any) -> Kind:
    """Return what a column of this ``datasets`` feature holds."""
    from datasets import Array2D, Audio, ClassLabel, Value, Video

    if isinstance(feature, (Audio, Video)):
        return "media"
    if isinstance(feature, (ClassLabel, Value)):
        return "other" if getattr(feature, "dtype", "") == "binary" else "cell"
    if isinstance(feature, Array2D):
        return "sequence"
    depth = 0
    while hasattr(feature, "feature"):
        depth, feature = depth + 1, feature.feature
    numeric = isinstance(feature, Value) and feature.dtype.startswith(("float", "int", "uint", "bool"))
    return ("other", "vector", "sequence")[depth] if numeric and depth <= 2 else "other"


def _cell(value: Any, class_name: Any) -> str:
    """Return a value as a table writes it; a class by its name, empty where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or (class_name and value == -1):
        return ""
    return str(class_name(value) if class_name else value).strip()


def _numbers(scalar: Any, place: str) -> Array | None:
    """Return what an Arrow scalar holds as ``(width,)`` or ``(time, width)``; None where it holds nothing.

    What is null in it, a number or a whole step, is NaN.

    Raises:
        DataError: steps of different width; the message begins with ``place``.
    """
    import pyarrow.compute as pc

    if not scalar.is_valid:
        return None
    values = getattr(scalar, "value", scalar).values  # fixed shapes are lists in the dress of a type of their own
    if not len(values):
        return None
    if not hasattr(values.type, "value_type"):
        return as_array(values.to_numpy(zero_copy_only=False), place)
    widths = pc.list_value_length(values).drop_null().unique().to_pylist()
    if len(widths) > 1:
        raise DataError(f"{place} has steps of {widths[0]} and of {widths[1]} numbers; store (time, width)")
    if not widths:
        return None
    given = values.is_valid().to_numpy(zero_copy_only=False)
    flat = as_array(values.flatten().to_numpy(zero_copy_only=False), place).reshape(given.sum(), widths[0])
    if given.all():
        return flat
    steps = np.full((len(values), widths[0]), np.nan, np.float32)
    steps[given] = flat
    return steps
