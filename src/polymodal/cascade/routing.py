"""Who answers: pure functions on arrays, one row per sample.

A sample stops with the small model where that is sure (stage ``1``). The large one is asked about the rest: its answer
stands where it is sure (``2a``); where it is not but takes the same side, both are accepted (``2b``); where they
contradict each other, the large one is asked again and told both answers (``3``). A large model that gives no readable
answer leaves the sample to the small one (``failed``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from polymodal.cascade.folder import Agreed
from polymodal.core import OptionError

Array = np.ndarray[Any, Any]
STAGES = ("1", "2a", "2b", "3", "failed")


@dataclass(frozen=True)
class Rule:
    """What decides.

    Attributes:
        small: the small model is sure where its uncertainty is at most this: below 0 never, from 1 on always.
        large: the same for the large model.
        agreed: what is returned where the large model is not sure but agrees: the ``average`` of both, weighted by
            1 - uncertainty, or the ``large`` one's answer.
        middle: of the scale; numbers on the same side of it agree, and so do two on it. None where answers are classes,
            which agree where they are equal.
    """

    small: float
    large: float
    agreed: Agreed = "average"
    middle: float | None = 0.0

    def __post_init__(self) -> None:
        if self.agreed not in get_args(Agreed):
            raise OptionError(f"agreed must be one of {', '.join(get_args(Agreed))}, got {self.agreed!r}")

    def escalated(self, u_small: Array) -> Array:
        """Return which samples go to the large model, ``(samples,)`` bool."""
        return np.asarray(u_small > self.small)

    def agree(self, a: Array, b: Array) -> Array:
        """Return where two answers take the same side; a missing one (NaN) agrees with nothing."""
        if self.middle is None:
            return np.asarray(a == b)
        return np.asarray(np.sign(a - self.middle) == np.sign(b - self.middle))

    def stages(self, y_small: Array, y_large: Array, u_large: Array) -> Array:
        """Return the stage of samples that the large model was asked about; an answer that is NaN has ``failed``."""
        second = np.where(self.agree(y_small, y_large), "2b", "3")
        sure = np.where(u_large <= self.large, "2a", second)
        return np.where(np.isnan(y_large), "failed", sure)


@dataclass(frozen=True)
class Answers:
    """Answers to the same samples, one row each.

    Attributes:
        y: numbers, or class numbers; NaN where there is none.
        u: uncertainty in [0, 1]; 1 where there is no answer.
    """

    y: Array
    u: Array

    @classmethod
    def empty(cls, count: int) -> Answers:
        """Return no answer to ``count`` samples."""
        return cls(np.full(count, np.nan), np.ones(count))

    def __getitem__(self, rows: Array) -> Answers:
        return Answers(self.y[rows], self.u[rows])


def average(first: Answers, second: Answers) -> Array:
    """Return the mean of two answers, weighted by 1 - uncertainty; the plain mean where neither is worth anything."""
    weights = np.stack([1 - first.u, 1 - second.u])
    weights = np.where(weights.sum(0) > 0, weights, 1.0)
    return np.asarray((weights * np.stack([first.y, second.y])).sum(0) / weights.sum(0))


def settle(rule: Rule, stage: Array, small: Answers, large: Answers, again: Answers) -> Array:
    """Return the final answers ``(samples,)``.

    Args:
        stage: one of ``STAGES`` for each sample.
        small: answers to all samples.
        large: first answers of the large model; read in stages 2a, 2b and 3.
        again: its second answers; read in stage 3. Where there is none, the surer of the two first answers is returned.
    """
    both = large.y if rule.middle is None or rule.agreed == "large" else average(small, large)
    surer = np.where(large.u <= small.u, large.y, small.y)
    last = np.where(np.isnan(again.y), surer, again.y)
    return np.select([stage == "2a", stage == "2b", stage == "3"], [large.y, both, last], small.y)
