"""Standardising by statistics of the training split: rows as a loader reads them, or a batch that is made already.

The models of a run of folds have statistics of their own each, so one batch is standardised once for each of them.
Importing this costs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np

from polymodal.core.errors import PolymodalError
from polymodal.core.options import Rule
from polymodal.data.ragged import Array

if TYPE_CHECKING:
    from polymodal.core import Batch, Schema, Stream

CLIP = 10.0
"""Standardised features are clipped to +-CLIP: a single absurd reading must not decide a prediction."""

MOST, LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)

Mean = Annotated[float, Rule("a number that single precision holds", lambda mean: abs(mean) <= MOST)]
Deviation = Annotated[
    float, Rule("a number above 0 that single precision holds", lambda deviation: LEAST <= deviation <= MOST)
]


@dataclass(frozen=True)
class Normalizer:
    """Per-channel mean and standard deviation of the training split, stored with the run.

    Constant channels get a standard deviation of 1. Modalities with ``normalize=False`` have no entry.
    """

    mean: dict[str, Array]
    std: dict[str, Array]

    def apply(self, name: str, row: Array, out: Array) -> None:
        """Write the standardised, clipped ``row``, (time, width) or (time, channels, height, width), into the float32
        ``out`` of the same shape."""
        if name not in self.mean:
            out[:] = row
            return
        pixels = (-1, *[1] * (row.ndim - 2))  # axes of height and width, where there are any
        np.subtract(row, self.mean[name].reshape(pixels), out=out)
        out /= self.std[name].reshape(pixels)
        np.clip(out, -CLIP, CLIP, out=out)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON (floats survive the round trip exactly)."""
        return {n: {"mean": self.mean[n].tolist(), "std": self.std[n].tolist()} for n in self.mean}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Normalizer:
        """Inverse of ``to_dict``."""
        return cls(
            {n: np.asarray(d["mean"], np.float32) for n, d in data.items()},
            {n: np.asarray(d["std"], np.float32) for n, d in data.items()},
        )


class StatisticsRecord(TypedDict):
    """Of one modality, as JSON holds it."""

    mean: list[Mean]
    std: list[Deviation]


def check_statistics(
    place: object, held: Mapping[str, StatisticsRecord], schema: Schema, remedy: str, error: type[PolymodalError]
) -> None:
    """Raise ``error`` where statistics are not those of the modalities of ``schema`` that are standardised."""
    wanted = {m.name: m.shape[0] if m.shape else m.width for m in schema.modalities if m.normalize and m.kind != "text"}
    for name in sorted(wanted.keys() | held.keys()):
        if name not in held:
            raise error(f"{place}: {name} is missing; {remedy}")
        if name not in wanted:
            raise error(f"{place}: {name} is no modality that is standardised; {remedy}")
        for key, numbers in (("mean", held[name]["mean"]), ("std", held[name]["std"])):
            if len(numbers) != wanted[name]:
                raise error(f"{place}: {name}.{key} must be {wanted[name]} numbers, got {len(numbers)}; {remedy}")


def standardise(batch: Batch, normalizer: Normalizer) -> Batch:
    """Return ``batch`` as a loader with ``normalizer`` makes it: standardised and clipped, zeros behind each sample.

    Args:
        batch: from a loader without a normalizer.
        normalizer: modalities that it does not know stay as they are.
    """
    streams = {n: _standardised(s, n, normalizer) if n in normalizer.mean else s for n, s in batch.streams.items()}
    return replace(batch, streams=streams)


def _standardised(stream: Stream, name: str, normalizer: Normalizer) -> Stream:
    import torch

    values = stream.tensor
    steps = stream.mask if stream.lengths is not None else stream.present
    # A vector has its channels last, pixels have height and width behind them.
    axes = values.dim() - steps.dim() - 1
    mean, std = (
        torch.from_numpy(s[name]).to(values.device).view(-1, *[1] * axes) for s in (normalizer.mean, normalizer.std)
    )
    scaled = ((values - mean) / std).clamp(-CLIP, CLIP)
    real = steps.view(*steps.shape, *[1] * (axes + 1))
    return replace(stream, values=torch.where(real, scaled, torch.zeros((), device=values.device)))
