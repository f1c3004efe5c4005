"""Any of several classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polymodal.core.errors import DataError
from polymodal.core.tasks import Array, ClassRule, Column, Measure, Task
from polymodal.score import statistics as st

if TYPE_CHECKING:
    from torch import Tensor


class Multilabel(Task):
    """Any of ``target.classes``. Labels: a row of 0 and 1, of NaN where not known. Loss: binary cross entropy of
    logits, mean over classes; predicted: the classes with a probability above one half, and the probability of each."""

    answer = "classes"
    main = "f1"
    sample_metric = "accuracy"
    calibration = "temperature"
    averaged = "probability"

    def check(self) -> None:
        """One class or more."""
        super().check()
        if not self.target.classes:
            raise DataError(f"multilabel target {self.target.name!r} needs at least one class")

    @property
    def choices(self) -> str:
        """The classes."""
        return f"any of {', '.join(self.target.classes)}"

    @property
    def label(self) -> Column:
        """0 or 1 for every class."""
        return Column((len(self.target.classes),), "0 or 1 for every class", lambda y: np.isin(y, (0, 1)))

    def counts(self, labels: Array) -> dict[str, int]:
        """Count the samples that have each class."""
        return dict(zip(self.target.classes, labels.sum(axis=0).astype(int).tolist(), strict=True))

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Binary cross entropy."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(prediction, label, reduction="none").mean(dim=-1)

    def distance(self, labels: Tensor) -> Tensor:
        """Number of classes that one has and the other has not."""
        return (labels.unsqueeze(1) - labels.unsqueeze(0)).abs().sum(dim=-1)

    def kinds(self, labels: Tensor, rule: ClassRule = "round") -> Tensor:
        """The set of classes."""
        return labels.unique(dim=0, return_inverse=True)[1]

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        """Probabilities, and which are above one half."""
        share = prediction.sigmoid()
        return {"probability": share, "predicted": (share > 0.5).float()}

    @property
    def metrics(self) -> dict[str, bool]:
        """Means over classes, then the figures of each class."""
        details = [f"{m}/{c}" for m in ("weighted_accuracy", "f1") for c in self.target.classes]
        return dict.fromkeys(("weighted_accuracy", "f1", "accuracy", "auc", *details), True)

    def measures(self, true: Array, predicted: Array, probability: Array | None) -> dict[str, Measure]:
        """Means over the classes for which the metric is defined."""
        n, members, found = len(true), true.T == 1, predicted.T == 1  # (classes, samples)
        # (tp * n / p + tn) / 2n of the field, n negatives and p positives, is the mean of the recalls of both sides; a
        # class with one side only has no such accuracy.
        weighted = [_balanced(t, f) for t, f in zip(members, found, strict=True)]
        f1 = [st.f1(t, f) for t, f in zip(members, found, strict=True)]
        table = {
            "weighted_accuracy": Measure(st.mean_of(weighted), n, st.SHARE),
            "f1": Measure(st.mean_of(f1), n, st.SHARE),
            "accuracy": Measure(st.average((true == predicted).mean(axis=1)), n, st.SHARE),
            "auc": Measure(st.undefined, 0),
        }
        if probability is not None:
            auc = [st.auc(t, p) for t, p in zip(members, probability.T, strict=True)]
            table["auc"] = Measure(st.mean_of(auc), n, st.SHARE)
        for metric, parts in (("weighted_accuracy", weighted), ("f1", f1)):
            for name, t, part in zip(self.target.classes, members, parts, strict=True):
                table[f"{metric}/{name}"] = Measure(part, int(t.sum()), st.SHARE)
        return table

    def sample_scores(self, true: Array, predicted: Array) -> Array:
        """Share of the classes that are right."""
        scores: Array = (true == predicted).mean(axis=1)
        return scores


def _balanced(true: Array, found: Array) -> st.Statistic:
    hits, rejections = st.recall(true, found), st.recall(~true, ~found)
    return lambda times: (hits(times) + rejections(times)) / 2
