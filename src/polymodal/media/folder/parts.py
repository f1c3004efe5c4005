"""The file that is left of an extracted clip: features as safetensors, everything else as JSON, replaced atomically."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array

Features = Mapping[str, Array | str]
"""Of one utterance: modality name -> what ``build_split`` takes; no entry where it is absent."""


def write_part(path: Path, about: dict[str, Any], features: Sequence[Features]) -> None:
    """Write what is known of a clip and the features of its utterances.

    Raises:
        DataError: the file cannot be written.
    """
    from safetensors.numpy import save

    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(save(_joined(features), metadata={"about": json.dumps(about)}))
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path.parent, error) from None


def cannot_write(folder: Path, error: OSError) -> DataError:
    """Return the error to raise where an unfinished extraction cannot be written."""
    return DataError(
        f"cannot write {folder}: {error.strerror or error}; what is done is kept: free space and start the same "
        "command again"
    )


def _joined(rows: Iterable[Features]) -> dict[str, Array]:
    """Return the features of all utterances in one flat array per modality."""
    flat: dict[str, list[Array]] = {}
    for values in rows:
        for name, value in values.items():
            if not isinstance(value, str):
                kept = np.uint8 if value.dtype == np.uint8 else np.float32  # pixels stay bytes
                flat.setdefault(name, []).append(np.asarray(value, kept).reshape(-1))
    return {name: np.concatenate(arrays) for name, arrays in flat.items()}


def read_about(path: Path) -> dict[str, Any] | None:
    """Return what a part says of its clip; None where there is no part that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
            return about
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def read_features(path: Path, about: dict[str, Any]) -> list[dict[str, Array]]:
    """Return modality name -> features for each utterance of a part.

    Raises:
        DataError: the part is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise DataError(f"part {path} is damaged ({error}); remove it and start the same command again") from None
    used = dict.fromkeys(flat, 0)
    rows = []
    for utterance in about["utterances"]:
        row = {}
        for name, shape in utterance["shapes"].items():
            first, used[name] = used[name], used[name] + math.prod(shape)
            row[name] = flat[name][first : used[name]].reshape(shape)
        rows.append(row)
    return rows
