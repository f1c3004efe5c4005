"""One of several classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polymodal.core.errors import DataError
from polymodal.core.tasks import Array, ClassRule, Column, Measure, Task
from polymodal.score import statistics as st
from polymodal.score.metrics import accuracy

if TYPE_CHECKING:
    from torch import Tensor


class Classification(Task):
    """One class of ``target.classes``. Labels: class numbers, -1 where not known. Loss: cross entropy of logits;
    predicted: the number of the likeliest class, and the probability of each."""

    answer = "class"
    dtype = np.int64
    main = "f1"
    sample_metric = "accuracy"
    calibration = "temperature"
    averaged = "probability"

    def check(self) -> None:
        """Two classes or more."""
        super().check()
        if len(self.target.classes) < 2:
            raise DataError(f"classification target {self.target.name!r} needs at least two classes")

    @property
    def choices(self) -> str:
        """The classes."""
        return f"one of {', '.join(self.target.classes)}"

    @property
    def label(self) -> Column:
        """A class number."""
        count = len(self.target.classes)
        return Column((), f"a class number from 0 to {count - 1}", lambda y: np.isin(y, np.arange(count)))

    def counts(self, labels: Array) -> dict[str, int]:
        """Count each class."""
        counts = np.bincount(labels.astype(int), minlength=len(self.target.classes))
        return dict(zip(self.target.classes, counts.tolist(), strict=True))

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Cross entropy."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(prediction, label, reduction="none")

    def distance(self, labels: Tensor) -> Tensor:
        """0 within a class, 1 between classes."""
        return (labels.unsqueeze(1) != labels.unsqueeze(0)).float()

    def kinds(self, labels: Tensor, rule: ClassRule = "round") -> Tensor:
        """The class."""
        return labels

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        """Probabilities, and the likeliest class."""
        share = prediction.softmax(dim=-1)
        return {"probability": share, "predicted": share.argmax(dim=-1)}

    @property
    def metrics(self) -> dict[str, bool]:
        """Those of all classes, of two classes, and of each."""
        binary = ("auc", "eer") if len(self.target.classes) == 2 else ()
        names = ("accuracy", "ua", "f1", "f1_macro", *binary, *(f"f1/{c}" for c in self.target.classes))
        return {name: name != "eer" for name in names}

    def measures(self, true: Array, predicted: Array, probability: Array | None) -> dict[str, Measure]:
        """Every F1 is given the truth first."""
        classes, n = self.target.classes, len(true)
        counts = st.count_classes(true, predicted, len(classes))
        table = {
            "accuracy": accuracy(true, predicted),
            "ua": Measure(lambda times: st.mean_defined(counts(times).recall), n, st.SHARE),
            "f1": Measure(lambda times: counts(times).weighted_f1, n, st.SHARE),
            "f1_macro": Measure(lambda times: st.mean_defined(counts(times).f1), n, st.SHARE),
        }
        if len(classes) == 2:
            for name, statistic in (("auc", st.auc), ("eer", st.equal_error_rate)):
                table[name] = Measure(st.undefined, 0)
                if probability is not None:
                    table[name] = Measure(statistic(true == 1, probability[:, 1]), n, st.SHARE)
        for k, name in enumerate(classes):
            table[f"f1/{name}"] = Measure(st.f1(true == k, predicted == k), int((true == k).sum()), st.SHARE)
        return table

    def sample_scores(self, true: Array, predicted: Array) -> Array:
        """1 for the right class."""
        return (true == predicted).astype(float)
