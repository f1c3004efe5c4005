"""Rows of features or text as the methods of a run take them: encoded, checked, normalised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from polymodal.core import Batch, DataError, Modality, nearest
from polymodal.core.arrays import real_array
from polymodal.core.text import clean
from polymodal.data.columns import text_of
from polymodal.data.encode import BATCH, Encoder, _plugin, is_plugin, transformer_encoder
from polymodal.data.loader import Loader
from polymodal.data.ragged import Array
from polymodal.data.split import build_split
from polymodal.train.run import Run

Row = Mapping[str, Array | str | None]
"""Modality -> array, string, or None for absent; a name that is left out is absent too."""


class Features:
    """Prepares samples for the methods of ``run``; its encoders stay loaded."""

    def __init__(self, run: Run) -> None:
        self.schema = run.schema
        # In a run of folds the members standardise, each by its own statistics.
        self._normalizer = None if run.crossed else run.normalizer
        self._specs: dict[str, str] = run.config["data"]["encode"]

    @cached_property
    def _encoders(self) -> dict[str, Encoder]:
        return {n: _plugin(s) if is_plugin(s) else transformer_encoder(s) for n, s in self._specs.items()}

    def warm_up(self) -> None:
        """Load the encoders now: reading their weights takes longer than most requests."""
        for name, encoder in self._encoders.items():
            if not is_plugin(self._specs[name]):
                encoder.encode(["warm"])

    def batch(self, rows: Sequence[Row], names: Sequence[str]) -> Batch:
        """Return ``rows`` as one batch, in their order.

        Args:
            rows: what the run's corpus held before its encoders, or after them.
            names: one per row, for messages.

        Raises:
            DataError: an unknown modality, something that is neither array nor text, a wrong width; names the row.
        """
        for row, name in zip(rows, names, strict=True):
            for modality in row:
                if modality not in self.schema.names:
                    raise DataError(f"{name}: no modality {modality!r}{nearest(modality, self.schema.names)}")
        columns = {
            m.name: self._encoded(m, [self._value(r.get(m.name), m, n) for r, n in zip(rows, names, strict=True)])
            for m in self.schema.modalities
        }
        labels = {t.name: np.full((len(rows), *t.spec.label.row), np.nan) for t in self.schema.targets}
        nowhere = replace(self.schema, domains=())  # nobody says where new samples come from
        split = build_split(nowhere, names, columns, labels)
        loader = Loader(split, nowhere, max(1, len(rows)), normalizer=self._normalizer)
        return loader.batch(np.arange(len(rows)))

    def _encoded(self, modality: Modality, values: list[Any]) -> list[Any]:
        """Return ``values`` with those that are not encoded yet replaced by states."""
        if modality.name not in self._specs:
            return values
        plugin = is_plugin(self._specs[modality.name])
        raw = [i for i, v in enumerate(values) if isinstance(v, str) or (plugin and _width(v) != modality.width)]
        out = [None if i in set(raw) else v for i, v in enumerate(values)]
        told = sorted((i for i in raw if values[i] is not None and len(values[i])), key=lambda i: len(values[i]))
        for start in range(0, len(told), BATCH):
            chosen = told[start : start + BATCH]
            states = self._encoders[modality.name].encode([values[i] for i in chosen])
            for i, state in zip(chosen, states, strict=True):
                out[i] = state
        return out

    def _value(self, value: Any, modality: Modality, name: str) -> Array | str | None:
        """Return an array, a string that is not blank, or None; DataError for what the modality cannot be.

        Features are float32, pixels uint8. A string is never taken for the path of an image: rows come from strangers.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str) and not value.strip():
            return None
        if isinstance(value, str):
            if modality.kind == "text" or modality.name in self._specs:
                return clean(value)
            raise DataError(f"{name}: {modality.name} is text, the run wants {modality.form}")
        if modality.kind == "text":
            return text_of(value, f"{name}: {modality.name}")
        try:
            array = real_array(value)
            # Pixels come as whole numbers of any type, from JSON; what is no pixel is left for build_split to refuse.
            whole = array.ndim > 2 and array.size and np.asarray(value).dtype.kind in "iu"
            return array.astype(np.uint8) if whole and array.min() >= 0 and array.max() < 256 else array
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"{name}: {modality.name} is no array of real numbers; give {modality.form} with rows of one length"
            ) from None


def _width(value: Any) -> int | None:
    return value.shape[-1] if isinstance(value, np.ndarray) and value.ndim in (1, 2) else None
