"""Who is answered where a promised error is to be kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.core import OptionError, Target
from polymodal.data.ragged import Array
from polymodal.score.metrics import sample_scores
from polymodal.score.selective import SURE, Step, best_step, confidence
from polymodal.train.calibration import Calibration
from polymodal.train.run import Run


@dataclass(frozen=True)
class Abstainer:
    """Answers only where validation says that the mean error of what is answered stays below ``error``.

    Attributes:
        error: promised; mean absolute error of numbers, share of wrong answers of classes.
    """

    error: float

    def __post_init__(self) -> None:
        if not self.error > 0:
            raise OptionError(f"--abstain-at is a mean error above 0, got {self.error:g}")

    def step(self, known: Calibration | None, target: Target, present: Collection[str]) -> Step | None:
        """Return what is answered where exactly ``present`` is there; None where nothing can be promised."""
        return None if known is None else best_step(known.steps(target.name, present), self.error)

    def answered(self, known: Calibration | None, target: Target, present: Collection[str], said: Array) -> Array:
        """Return which samples are answered, ``(samples,)`` bool.

        Args:
            said: ``(samples,)`` values, or ``(samples, classes)`` tempered probabilities.
        """
        step = self.step(known, target, present)
        if known is None or step is None:
            return np.zeros(len(said), bool)
        return np.asarray(confidence(target, said, known.expected(target.name, present)) >= step.threshold)

    def check(self, run: Run) -> None:
        """Raise OptionError where ``run`` can keep the promise for none of its targets, with all modalities there."""
        known, targets = run.calibration, run.schema.joint_targets
        if any(self.step(known, t, run.schema.names) for t in targets):
            return
        lowest = {t.name: min((s.bound for s in _steps(known, t, run)), default=None) for t in targets}
        # Rounded up, so that what is named can be asked for.
        can = "; ".join(f"{n} {math.ceil(1000 * bound) / 1000:g}" for n, bound in lowest.items() if bound is not None)
        why = (
            f"the lowest mean error it can promise on validation is {can}; ask for that or more"
            if can
            else "validation has too few groups (speakers, videos) to promise anything; fit on more"
            if any(known and known.silence_measured(t.name, run.schema.names) for t in targets)
            else "nothing was measured for it; repeat its fit with --resume, which measures runs of older versions"
        )
        raise OptionError(f"{run.path} cannot promise a mean error of {self.error:g}: {why}")

    def told(self, known: Calibration | None, target: Target, present: Collection[str]) -> str:
        """Return what is promised where exactly ``present`` is there, as a sentence."""
        step, there = self.step(known, target, present), "+".join(present)
        if step is None:
            return f"{target.name} with {there}: silent, because a mean error of {self.error:g} cannot be promised"
        return (
            f"{target.name} with {there}: silent on {1 - step.share:.0%} of validation, mean error of the rest "
            f"{step.error:.3g}, at most {step.bound:.3g} ({SURE:.0%} sure)"
        )


def _steps(known: Calibration | None, target: Target, run: Run) -> list[Step]:
    return known.steps(target.name, run.schema.names) if known else []


def losses(target: Target, true: Any, said: Array) -> Array:
    """Return what each answer costs ``(samples,)``: its absolute error, or the share of it that is wrong.

    Args:
        true: known labels.
        said: ``(samples,)`` values, or ``(samples, classes)`` probabilities.
    """
    answer = target.spec.answer
    predicted = said if answer == "number" else said.argmax(axis=1) if answer == "class" else said > 0.5
    scores = sample_scores(target, true, predicted)
    return np.asarray(1 - scores if target.spec.metrics[target.spec.sample_metric] else scores)


def held(
    abstainer: Abstainer,
    target: Target,
    true: Array,
    said: Array,
    presence: Sequence[Collection[str]],
    calibrations: Sequence[Calibration | None],
) -> dict[str, Any]:
    """Return whether the promise holds on samples with known labels: ``count``, the share that is ``silent``, the mean
    ``error`` of the rest (None without any) and ``all``, that of every sample.

    Args:
        true: labels.
        said: as ``Abstainer.answered``, per sample.
        presence, calibrations: of each sample.
    """
    cost = losses(target, true, said)
    rows = [
        bool(abstainer.answered(c, target, p, said[i : i + 1])[0])
        for i, (c, p) in enumerate(zip(calibrations, presence, strict=True))
    ]
    answered = np.asarray(rows, bool)
    return {
        "target": target.name,
        "count": len(cost),
        "silent": float(1 - answered.mean()),
        "error": float(cost[answered].mean()) if answered.any() else None,
        "all": float(cost.mean()),
    }
