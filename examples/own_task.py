"""A task of your own in one file: how many, where being wrong by a factor counts the same for few and for many.

python examples/own_task.py
polymodal fit late-fusion --data examples/own_task.py:laughs
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

import polymodal
from polymodal import Corpus, build_split
from polymodal.core import Column, Measure, Modality, Schema, Target
from polymodal.score import statistics as st
from polymodal.tasks.regression import Regression


class LogCount(Regression):
    """A count. Heads predict log(1 + count), and an error of one is a factor of e."""

    main = sample_metric = "log_error"
    metrics = {"log_error": False, "share_exact": True}  # noqa: RUF012  (whether higher is better)
    label = Column((), "a whole number, 0 or more", lambda y: (y >= 0) & (y == np.floor(y)))
    predicted = Column((), "a finite number", np.isfinite)

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Return the distance of logarithms."""
        return (prediction - label.log1p()).abs()

    def ideal(self, labels: np.ndarray) -> np.ndarray:
        """Return what a closed form fits its outputs to."""
        return np.log1p(labels)

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        """Return the count."""
        return {"predicted": prediction.expm1()}

    def sample_scores(self, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the error of each sample."""
        return np.abs(np.log1p(np.maximum(predicted, 0)) - np.log1p(true))

    def measures(self, true: np.ndarray, predicted: np.ndarray, probability: None) -> dict[str, Measure]:
        """Return both metrics."""
        error, exact = self.sample_scores(true, predicted), np.rint(predicted) == true
        return {
            "log_error": Measure(st.average(error), len(true), st.ERROR),
            "share_exact": Measure(st.average(exact), len(true), st.SHARE),
        }

    def write(self, value: float) -> str:
        """Return a count as a person reads it."""
        return f"{value:.0f} times"


SCHEMA = Schema(
    (Modality("audio", "vector", 3), Modality("face", "vector", 2)), (Target("laughs", f"{__file__}:LogCount"),)
)


def laughs(rows: int = 120) -> Corpus:
    """Counts whose logarithm is a sum of what audio and face show; every tenth is not known."""
    splits = {}
    for seed, (name, size) in enumerate({"train": rows, "valid": rows // 3, "test": rows // 2}.items()):
        rng = np.random.default_rng(seed)
        columns = {m.name: list(rng.standard_normal((size, m.width))) for m in SCHEMA.modalities}
        shown = np.stack(columns["audio"])[:, 0] + 0.7 * np.stack(columns["face"])[:, 0]
        counts = np.where(np.arange(size) % 10, np.rint(np.expm1(np.clip(1.5 + shown, 0, None))), np.nan)
        splits[name] = build_split(SCHEMA, [f"{name}{i}" for i in range(size)], columns, {"laughs": counts})
    return Corpus("laughs", f"{__file__}:laughs", SCHEMA, splits)


if __name__ == "__main__":
    run = polymodal.fit("late-fusion", laughs(), epochs=15, lr=0.01)
    for row in polymodal.evaluate(run)["rows"]:
        if row["main"]:
            print(f"{row['metric']}, {row['condition']}: {row['mean']:.3f}, {row['count']} labels")
