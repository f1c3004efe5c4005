"""Random numbers of a protocol: a sample's fate depends on its id, the seed and the epoch, never on its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, DataError, Stream, numpy_rng

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Draw:
    """What a protocol may draw from.

    Attributes:
        key: protocol, seed and, for fresh masks, epoch.
        population: ids of the whole split; the batch's own where it is not known.
        donors: returns the samples with the given ids, untouched, as a batch; None where only the batch is known.
    """

    key: tuple[object, ...]
    population: Sequence[str]
    donors: Callable[[list[str]], Batch] | None = None

    def rng(self, *what: object) -> np.random.Generator:
        """Return the generator for ``what``, usually a sample's id and a modality."""
        return numpy_rng("stress", *self.key, *what)

    def uniform(self, ids: Sequence[str], *what: object) -> Tensor:
        """Return one number in [0, 1) per id."""
        return torch.tensor([self.rng(i, *what).random() for i in ids])


def chosen(batch: Batch, modalities: Sequence[str]) -> list[str]:
    """Return ``modalities``, or all of the batch; DataError names one that is not there."""
    for name in modalities:
        _ = batch[name]
    return list(modalities) or list(batch.streams)


def steps(stream: Stream) -> tuple[Tensor, Tensor]:
    """Return ``(batch, time, ...)`` values and ``(batch,)`` true lengths; a vector or an image is one step."""
    values = stream.tensor
    if stream.lengths is None:
        return values[:, None], stream.present.long()
    return values, stream.lengths


def with_values(stream: Stream, values: Tensor, lengths: Tensor | None = None) -> Stream:
    """Return the stream with new values, and new lengths if it has steps."""
    if stream.lengths is None:
        return Stream(values[:, 0], None, stream.present)
    return Stream(values, stream.lengths if lengths is None else lengths, stream.present)


def needs_three(batch: Batch, what: str) -> None:
    """DataError unless the batch has three modalities, as the published protocol assumes."""
    if len(batch.streams) != 3:
        raise DataError(
            f"{what} is defined for three modalities, this corpus has {len(batch.streams)}; use missing:rate=..."
        )
