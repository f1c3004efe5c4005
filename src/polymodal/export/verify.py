"""Whether an exported graph says what its run says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from polymodal.audit.panels import panel_of
from polymodal.core import OptionError, Schema
from polymodal.data.ragged import Array
from polymodal.data.standardise import Normalizer
from polymodal.export.script import inputs
from polymodal.predict.features import Features, Row
from polymodal.train.run import Run

CLOSE = 1e-4
"""Difference to torch, absolute or of the value, that is no error."""

BATCHES = ((1, 1), (4, 23), (2, 3))
"""Samples and longest sequence of what is compared; none of them is what graphs are traced with."""


class Session(Protocol):
    """What onnxruntime opens."""

    def run(self, outputs: None, feed: Mapping[str, Array], /) -> Sequence[Array]:
        """Return the outputs for ``feed``."""


def verify(run: Run, about: dict[str, Any], session: Session) -> float:
    """Return the largest difference between ``session`` and ``run`` on random features, modalities absent or there.

    Args:
        run: of which the graph was made.
        about: content of ``model.json``.
        session: the graph, opened.

    Raises:
        OptionError: a difference above ``CLOSE``, or an answer that is no number.
    """
    features, panel, worst = Features(run), panel_of(run), 0.0
    normalizer = run.normalizer_of(run.folds[0])
    for number, (samples, longest) in enumerate(BATCHES):
        for kept in _kept(run.schema):
            rows = _rows(run.schema, normalizer, kept, samples, longest, seed=number)
            wanted = panel(features.batch(rows, [f"row {i}" for i in range(samples)]))
            found = session.run(None, inputs(about, rows))
            for target, got in zip(run.schema.joint_targets, found, strict=True):
                truth = wanted[target.name].numpy()
                error = np.abs(got - truth) / np.maximum(1, np.abs(truth))
                if got.shape != truth.shape or not (error <= CLOSE).all():
                    raise OptionError(
                        f"the graph of {run.path} differs from the run by {float(np.max(error, initial=0)):.1e} in "
                        f"{target.name!r} where {' and '.join(kept) or 'nothing'} is there: method "
                        f"{run.config['method']} cannot be exported; nothing was written"
                    )
                worst = max(worst, float(error.max()))
    return worst


def _kept(schema: Schema) -> list[tuple[str, ...]]:
    """Return sets of modalities: all, those that lack one, none."""
    names = schema.names
    return list(dict.fromkeys([names, *(tuple(n for n in names if n != gone) for gone in names), ()]))


def _rows(
    schema: Schema, normalizer: Normalizer, kept: Sequence[str], samples: int, longest: int, seed: int
) -> list[Row]:
    """Return random features on the scale of the training split; the last of several samples has all modalities."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for sample in range(samples):
        there = schema.names if sample and sample == samples - 1 else kept
        row: dict[str, Array | str | None] = {}
        for modality in schema.modalities:
            steps = int(rng.integers(1, longest + 1)) if modality.kind == "sequence" else 1
            values = rng.standard_normal((steps, modality.width))
            if modality.name in normalizer.mean:
                values = values * normalizer.std[modality.name] + normalizer.mean[modality.name]
            found = values.astype(np.float32)
            row[modality.name] = (
                (found if modality.kind == "sequence" else found[0]) if modality.name in there else None
            )
        rows.append(row)
    return rows
