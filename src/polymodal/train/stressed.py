"""A stress on the batches of one split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from polymodal.core import Batch
from polymodal.data.loader import Loader
from polymodal.stress import Stress


def stressed(loader: Loader, stress: Stress, *, seed: int = 0) -> Callable[..., Batch]:
    """Return what applies ``stress`` to a batch of ``loader``, with fresh masks for each ``epoch`` if it is given one.

    Args:
        loader: knows the whole split, for the protocols that look beyond a sample.
        stress: acts on standardised features, after frozen encoders.
        seed: of the masks; the default is that of all tests, so that methods and seeds are tested on the same input.
    """
    ids = loader.split.ids
    rows = {name: row for row, name in enumerate(ids)}

    def donors(wanted: list[str]) -> Batch:
        return loader.batch(np.array([rows[name] for name in wanted]))

    def change(batch: Batch, epoch: int | None = None) -> Batch:
        return stress(batch, seed=seed, epoch=epoch, population=ids, donors=donors)

    return change
