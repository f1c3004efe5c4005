"""A task as a user writes one: how many, judged by ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from polymodal.core import Column, Measure, Task
from polymodal.score import statistics as st

Array = np.ndarray[Any, Any]


class LogCount(Task):
    """A count. A head predicts log(1 + count); an error of one is a factor of e, whatever the count is."""

    answer = "number"
    main = sample_metric = "log_error"
    calibration = "interval"
    width = 1
    choices = "a count"
    label = Column((), "a whole number, 0 or more", lambda y: (y >= 0) & (y == np.floor(y)))
    predicted = Column((), "a finite number", np.isfinite)
    metrics = {"log_error": False, "share_exact": True}  # noqa: RUF012

    def counts(self, labels: Array) -> dict[str, int]:
        values, times = np.unique(labels, return_counts=True)
        return {f"{v:g}": int(n) for v, n in zip(values, times, strict=True)}

    def write(self, value: float) -> str:
        return f"{value:.0f} times"

    def prediction(self, outputs: Tensor) -> Tensor:
        return outputs[:, 0]

    def ideal(self, labels: Array) -> Array:
        return np.log1p(labels)

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return (prediction - label.log1p()).abs()

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        return {"predicted": prediction.expm1()}

    def measures(self, true: Array, predicted: Array, probability: Array | None) -> dict[str, Measure]:
        return {
            "log_error": Measure(st.average(self.sample_scores(true, predicted)), len(true)),
            "share_exact": Measure(st.average(np.rint(predicted) == true), len(true)),
        }

    def sample_scores(self, true: Array, predicted: Array) -> Array:
        return np.abs(np.log1p(np.maximum(predicted, 0)) - np.log1p(true))
