"""What readers of different layouts do alike: ids, groups, labels and lengths of samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError, Modality, nearest
from polymodal.core.arrays import real_array
from polymodal.core.text import clean, printable
from polymodal.data.ragged import Array

SENTIMENT = (-3.0, 3.0)
"""Range of the labels of CMU-MOSI and CMU-MOSEI."""


def corpus_name(path: Path) -> str:
    """Return the name of a corpus read from ``path``: the file's or folder's, without the last suffix."""
    return (path.stem if path.is_file() else path.name) or "corpus"


def split_name(name: str) -> str:
    """Return the name of a split in our spelling: ``dev``, ``val`` and ``validation`` are ``valid``."""
    lower = name.strip().lower()
    if lower in ("dev", "val", "validation", "valid"):
        return "valid"
    return "train" if lower in ("train", "training") else lower


def choose(modalities: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    """Return the names in ``available`` that are wanted (None: all); DataError with the nearest name if one is not."""
    for name in modalities or ():
        if name not in available:
            raise DataError(f"there is no modality {name!r}{nearest(name, available)}")
    return [n for n in available if modalities is None or n in modalities]


def _single(value: Any) -> Any:
    """Return the one value that an array holds, bytes as a string."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_missing(value: Any) -> bool:
    """Whether ``value`` says that there is no text: tables mark it by None, NaN or another number, NA or NaT."""
    return value is None or isinstance(value, (float, np.floating)) or type(value).__name__ in ("NAType", "NaTType")


def word_of(value: Any, what: str) -> str | None:
    """Return a word or text from a string, from bytes, or from the one value that an array holds.

    None, NaN and any other float are missing text: None.

    Raises:
        DataError: anything else; the message begins with ``what``.
    """
    value = _single(value)
    if _is_missing(value):
        return None
    if not isinstance(value, str):
        raise DataError(
            f"{what} is a {type(value).__name__}, expected text; store strings, and None where there is none"
        )
    return clean(str(value))


def text_of(value: Any, what: str) -> str | None:
    """Return the text of a sample as ``word_of``; ``nan``, what NumPy and tables write for a missing one, is None."""
    text = word_of(value, what)
    return None if text is None or text.strip().lower() == "nan" else text


def name_of(value: Any, what: str) -> str:
    """Return an id, a group or a part of one: text as it is, a number as it is printed.

    Raises:
        DataError: nothing, NaN, or neither text nor number; the message begins with ``what``.
    """
    value = _single(value)
    if isinstance(value, (str, int, np.integer)) or (isinstance(value, (float, np.floating)) and np.isfinite(value)):
        return printable(str(value))
    found = "missing" if _is_missing(value) else f"a {type(value).__name__}"
    raise DataError(f"{what} is {found}, expected text or a number; give every sample one")


def keys_of(mapping: Mapping[Any, Any]) -> str:
    """Return the first keys of ``mapping`` for a message, each cut short."""
    shown = ", ".join(repr(key)[:40] for key in list(mapping)[:12])
    return shown + (", ..." if len(mapping) > 12 else "") if mapping else "(none)"


def is_text(column: Any) -> bool:
    """Whether a column holds strings rather than arrays: the first value does that is not missing."""
    found = () if column is None else (value for value in column if not _is_missing(value))
    return isinstance(next(iter(found), None), (str, bytes))


def sample_ids(raw: Any, count: int, split: str) -> list[str]:
    """Return one id per sample. A row of several values (MulT: video, start, end) is joined with ``$_$``.

    Raises:
        DataError: not one id per sample.
    """
    if len(raw) != count:
        raise DataError(f"split {split!r} has {len(raw)} ids for {count} samples; every sample needs one")
    whats = (f"the id of sample {i} of split {split!r}" for i in range(count))
    return ["$_$".join(name_of(part, what) for part in _parts(row, what)) for row, what in zip(raw, whats, strict=True)]


def _parts(row: Any, what: str) -> Sequence[Any]:
    """Return the values that an id is made of."""
    if not isinstance(row, (list, tuple, np.ndarray)):
        return [row]
    try:
        return list(np.ravel(row))
    except ValueError:
        raise DataError(f"{what} has parts of different length, expected text or numbers; mend it") from None


def groups_of(ids: Sequence[str]) -> list[str]:
    """Return the video of each id, ``video$_$clip`` or ``video[clip]``; nothing if no id has one."""
    groups = [i.split("$_$")[0].split("[")[0] or i for i in ids]
    return [] if groups == list(ids) else groups


def is_column(value: object) -> bool:
    """Whether ``value`` can hold one row per sample."""
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def as_array(values: Any, what: str) -> Array:
    """Return ``values`` as float32; DataError about ``what`` if they are anything but an array of numbers."""
    try:
        return real_array(values)
    except (TypeError, ValueError):
        raise DataError(f"{what}: not an array of real numbers; extract it again") from None


def numbers(values: Any, what: str, ids: Sequence[str], split: str) -> Array:
    """Return one float per sample from any array with one value per sample.

    Raises:
        DataError: another number of values, or values that are no numbers.
    """
    array = as_array(values, f"{what} of split {split!r}")
    if array.shape[:1] != (len(ids),) or array.size != len(ids):
        raise DataError(
            f"{what} of split {split!r} have shape {array.shape} for {len(ids)} samples; store one per sample"
        )
    return array.reshape(-1)


def check_range(labels: Array, ids: Sequence[str], bounds: tuple[float, float]) -> None:
    """Raise DataError, naming the sample, if a label lies outside ``bounds``; NaN is left to ``Corpus.check``."""
    outside = np.flatnonzero((labels < bounds[0]) | (labels > bounds[1]))
    if len(outside):
        first = int(outside[0])
        low, high = min(float(np.nanmin(labels)), bounds[0]), max(float(np.nanmax(labels)), bounds[1])
        raise DataError(
            f"the label of sample {ids[first]!r} is {labels[first]:g}, outside {bounds[0]:g} to {bounds[1]:g}; if the "
            f"scale is wider, say so with ?range={low:g},{high:g}"
        )


def infer_modality(name: str, row: Any, **options: Any) -> Modality:
    """Return the modality whose samples look like ``row``: (time, width) a sequence, (width,) a vector.

    Raises:
        DataError: another number of dimensions, or no features.
    """
    shape = as_array(row, f"a sample of {name}").shape
    if len(shape) not in (1, 2):
        raise DataError(f"a sample of {name} has shape {shape}; it must be (time, width) or (width,)")
    if not shape[-1]:
        raise DataError(f"{name} has no features (width 0); leave it out with ?modalities=... or extract it again")
    return Modality(name, "sequence" if len(shape) == 2 else "vector", int(shape[-1]), **options)


def features(row: Any, modality: Modality, sample: str) -> Array:
    """Return ``row`` as float32, (time, width) for a sequence and (width,) for a vector.

    Raises:
        DataError: anything but numbers, or another number of dimensions.
    """
    array = as_array(row, f"{modality.name} of sample {sample!r}")
    if array.ndim != (2 if modality.kind == "sequence" else 1):
        raise DataError(
            f"{modality.name} of sample {sample!r} has shape {array.shape}, but the modality is a {modality.kind}"
        )
    return array


def trimmed_length(row: Array) -> int:
    """Return the steps of ``row`` (time, width) up to the last one that is not all zero."""
    filled = np.flatnonzero(row.any(axis=1))
    return int(filled[-1]) + 1 if len(filled) else 0


class Tally:
    """Counts what a reader repaired, to say it once at the end."""

    def __init__(self) -> None:
        self._values: Counter[str] = Counter()
        self._samples: Counter[str] = Counter()

    def non_finite(self, modality: str, rows: Sequence[Any]) -> None:
        """Count the values of ``rows`` that are NaN or infinite (``build_split`` turns them into 0)."""
        for row in rows:
            if row is not None and (bad := int(np.size(row) - np.count_nonzero(np.isfinite(row)))):
                self._values[modality] += bad
                self._samples[modality] += 1

    def notes(self) -> list[str]:
        """Return one sentence per modality that had such values."""
        return [
            f"{name}: {count} values in {self._samples[name]} samples were NaN or infinite and became 0"
            for name, count in self._values.items()
        ]


About = dict[str, Sequence[str]]
"""Column -> what is known of each sample, ``(rows,)``, "" where nothing."""


def checked_about(about: Mapping[str, Sequence[Any]], ids: Sequence[str]) -> About:
    """Return columns about samples as text, "" for None; DataError where one has another length than ``ids``."""
    found: About = {}
    for name, values in about.items():
        if len(values) != len(ids):
            raise DataError(f"column {name!r} has {len(values)} rows for {len(ids)} samples; give one value per sample")
        named = zip(values, ids, strict=True)
        found[name] = ["" if v is None else name_of(v, f"{name} of sample {i!r}") for v, i in named]
    return found
