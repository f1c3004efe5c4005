"""A number on a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polymodal.core.errors import DataError
from polymodal.core.tasks import Array, ClassRule, Column, Measure, Task
from polymodal.score import statistics as st
from polymodal.score.metrics import accuracy, weighted_f1

if TYPE_CHECKING:
    from torch import Tensor

MOSI = ("mae", "corr", "ccc", "acc2", "f1", "acc2_has0", "f1_has0", "acc3", "acc5", "acc7", "acc2_nonpos")
SIMS = ("mae", "corr", "ccc", "r2", "acc2", "f1", "acc3", "acc5", "acc2_weak")
FREE = ("mae", "rmse", "corr", "ccc", "spearman", "r2")


class Regression(Task):
    """A number, on a scale where the target has a range. Loss: absolute error; predicted: the number itself.

    The scale decides the metrics. CMU-MOSI and CMU-MOSEI (-3 to 3) leave neutral samples out of ``acc2`` and ``f1`` or
    count zero as positive in ``acc2_has0`` and ``f1_has0``; CH-SIMS (-1 to 1) clips everything first and counts zero as
    negative; any other scale has metrics that know none.
    """

    answer = "number"
    main = sample_metric = "mae"
    calibration = "interval"
    width = 1

    def check(self) -> None:
        """No classes."""
        super().check()
        if self.target.classes:
            raise DataError(f"regression target {self.target.name!r} has classes; remove them or change the task")

    @property
    def choices(self) -> str:
        """The ends of the scale, where they are known."""
        bounds = self.target.range
        return f"a number from {bounds[0]:g} to {bounds[1]:g}" if bounds else "a number"

    @property
    def label(self) -> Column:
        """A finite number."""
        return Column((), "a finite number", np.isfinite)

    def counts(self, labels: Array) -> dict[str, int]:
        """Count labels rounded to steps of 1, or of a fraction of the range if it is much narrower or wider."""
        low, high = self.target.range or (float(labels.min(initial=np.inf)), float(labels.max(initial=-np.inf)))
        if not low < high:
            return {f"{low:g}": len(labels)} if len(labels) else {}
        span = high - low
        step = span / 4 if span < 4 else span / 10 if span > 12 else 1.0
        centres = low + step * np.arange(round(span / step) + 1)
        nearest = np.abs(labels[:, None] - centres).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(centres))
        return {f"{c:g}": int(n) for c, n in zip(centres, counts, strict=True)}

    def prediction(self, outputs: Tensor) -> Tensor:
        """The only output."""
        return outputs[:, 0]

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Absolute error."""
        return (prediction - label).abs()

    def squared_loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Squared error."""
        return (prediction - label).square()

    @property
    def unit(self) -> float:
        """Six over the width of the scale."""
        return 6 / (self.target.range[1] - self.target.range[0]) if self.target.range else 1.0

    def distance(self, labels: Tensor) -> Tensor:
        """Absolute difference; without a range, labels of the batch are spread over six units."""
        low, high = self._ends(labels)
        return (labels.unsqueeze(1) - labels.unsqueeze(0)).abs() * 6 / max(high - low, 1e-6)

    def kinds(self, labels: Tensor, rule: ClassRule = "round") -> Tensor:
        """The label on a scale from -3 to 3, from the range or from the batch, rounded or reduced to its sign."""
        low, high = self._ends(labels)
        scaled = (labels - low) / max(high - low, 1e-6) * 6 - 3
        return scaled.sign() if rule == "sign" else scaled.clamp(-3, 3).round()

    def _ends(self, labels: Tensor) -> tuple[float, float]:
        known = labels[labels.isfinite()]
        return self.target.range or ((float(known.min()), float(known.max())) if len(known) else (0.0, 1.0))

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        """The number."""
        return {"predicted": prediction}

    @property
    def metrics(self) -> dict[str, bool]:
        """Those of the scale."""
        names = MOSI if self.target.range == (-3, 3) else SIMS if self.target.range == (-1, 1) else FREE
        return {name: name not in ("mae", "rmse") for name in names}

    def measures(self, true: Array, predicted: Array, probability: Array | None) -> dict[str, Measure]:
        """Those of the scale."""
        table = _mosi if self.target.range == (-3, 3) else _sims if self.target.range == (-1, 1) else _free
        return table(true, predicted)

    def sample_scores(self, true: Array, predicted: Array) -> Array:
        """Absolute error, for CH-SIMS of what is clipped."""
        if self.target.range == (-1, 1):
            true, predicted = _clip(true), _clip(predicted)
        return np.abs(predicted - true)


def _mosi(y: Array, p: Array) -> dict[str, Measure]:
    rated = y != 0
    return {
        "mae": Measure(st.average(np.abs(p - y)), len(y), st.ERROR),
        "corr": Measure(st.correlation(p, y), len(y), st.CORRELATION),
        "ccc": Measure(st.concordance(p, y), len(y), st.CORRELATION),
        "acc2": accuracy(y > 0, p > 0, rated),
        "f1": weighted_f1(y > 0, p > 0, rated),
        "acc2_has0": accuracy(y >= 0, p >= 0),
        "f1_has0": weighted_f1(y >= 0, p >= 0),
        # np.round takes halves to the even number, as the field's codes do.
        **{f"acc{2 * k + 1}": accuracy(np.round(np.clip(y, -k, k)), np.round(np.clip(p, -k, k))) for k in (1, 2, 3)},
        "acc2_nonpos": accuracy(y > 0, p > 0),
    }


def _sims(y: Array, p: Array) -> dict[str, Measure]:
    y, p = _clip(y), _clip(p)
    weak = np.abs(y).astype(np.float32) <= np.float32(0.4)
    return {
        "mae": Measure(st.average(np.abs(p - y)), len(y), st.ERROR),
        "corr": Measure(st.correlation(p, y), len(y), st.CORRELATION),
        "ccc": Measure(st.concordance(p, y), len(y), st.CORRELATION),
        "r2": Measure(st.explained(y, p), len(y), st.UP_TO_ONE),
        "acc2": accuracy(_bin(y, 0), _bin(p, 0)),
        "f1": weighted_f1(_bin(y, 0), _bin(p, 0)),
        "acc3": accuracy(_bin(y, -0.1, 0.1), _bin(p, -0.1, 0.1)),
        "acc5": accuracy(_bin(y, -0.7, -0.1, 0.1, 0.7), _bin(p, -0.7, -0.1, 0.1, 0.7)),
        "acc2_weak": accuracy(_bin(y, 0), _bin(p, 0), weak),
    }


def _free(y: Array, p: Array) -> dict[str, Measure]:
    return {
        "mae": Measure(st.average(np.abs(p - y)), len(y), st.ERROR),
        "rmse": Measure(st.root(st.average((p - y) ** 2)), len(y), st.ERROR),
        "corr": Measure(st.correlation(p, y), len(y), st.CORRELATION),
        "ccc": Measure(st.concordance(p, y), len(y), st.CORRELATION),
        "spearman": Measure(st.spearman(p, y), len(y), st.CORRELATION),
        "r2": Measure(st.explained(y, p), len(y), st.UP_TO_ONE),
    }


def _clip(values: Array) -> Array:
    return np.clip(values, -1.0, 1.0)


def _bin(values: Array, *edges: float) -> Array:
    """Number of the right-closed bin; compared in float32, the precision in which labels and edges agree."""
    return np.searchsorted(np.asarray(edges, np.float32), values.astype(np.float32), side="left")
