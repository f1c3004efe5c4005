"""What a method returns, and what comes of it once scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.core.estimate import Estimate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Output:
    """Result of a forward pass.

    Attributes:
        predictions: target name -> ``(batch,)`` for a regression, ``(batch, classes)`` logits where there are classes,
            ``(batch, modalities, width)`` embeddings for a retrieval, zeros where a modality is absent.
        representations: name -> tensor whose first dimension is the batch; ``fused`` is what the report projects. A
            second one of steps is zero behind the last step of a sample. ``<target>/steps``, ``(batch, time, classes)``
            probabilities, is what is said of single steps; ``<target>/radius`` (batch,), of few methods, how far what
            was seen may move before the class changes.
    """

    predictions: dict[str, Tensor]
    representations: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """Named figures and the predictions they came from.

    Attributes:
        figures: target name -> metric name -> Estimate.
        predictions: columns of equal length, ready for a table: ``id``, and per target ``<target>/true`` and
            ``<target>/predicted`` (regression: value; classification: class number; multilabel: 0/1 rows; retrieval:
            ranks), plus ``<target>/probability`` (rows of class probabilities) where there are classes.
    """

    figures: dict[str, dict[str, Estimate]]
    predictions: dict[str, np.ndarray[Any, Any]]
