"""Two timelines made one: each utterance has the answer of whoever gave it, with what both said beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from polymodal.cascade.asking import Questions
from polymodal.cascade.records import Records
from polymodal.cascade.routing import Array, Rule
from polymodal.cascade.sure import opinion, with_route
from polymodal.core import Target
from polymodal.predict.routed import Routed
from polymodal.predict.timeline import Estimate, Moment

UNASKED = "not looked at: the large run was not asked"


@dataclass(frozen=True)
class Composer:
    """What became of the utterances of a clip.

    Attributes:
        target, rule: what was answered, and how.
        record: the answers.
        questions: all that was asked.
        calls: ``(utterances,)`` questions that were put to the large model.
        others: number of an utterance -> what a large run says of it; empty where a service was asked.
        extra: modalities of the large run that the small one does not know.
    """

    target: Target
    rule: Rule
    record: Records
    questions: Questions
    calls: Array
    others: Mapping[int, Moment]
    extra: tuple[str, ...]

    def moment(self, row: int, own: Moment) -> Moment:
        """Return utterance ``row``, of which the small run says ``own``, with the cascade's answer."""
        other = self.others.get(row)
        there = tuple(dict.fromkeys([*own.present, *(other.present if other else ())]))
        missing = {**(other.absent if other else dict.fromkeys(self.extra, UNASKED)), **own.absent}
        found = replace(
            own,
            present=there,
            absent={name: why for name, why in missing.items() if name not in there},
            text=own.text or (other.text if other else ""),
            words=own.words or (other.words if other else ()),
        )
        name = self.target.name
        said = self._estimate(row, own.estimates[name], other.estimates[name] if other else None)
        return with_route(replace(found, estimates={**own.estimates, name: said}), self.target, self._route(row))

    def measured(self, moments: Sequence[Moment]) -> bool:
        """Whether every answer that is not the small run's alone has an interval, or probabilities."""
        said = [m.estimates[self.target.name] for row, m in enumerate(moments) if self.by(row) != "small"]
        return all(e.low is not None or e.probabilities is not None for e in said)

    def by(self, row: int) -> str:
        """Return whose answer is given: ``small``, ``large`` or ``both``."""
        stage = self.record.stage[row]
        if stage in ("1", "failed"):
            return "small"
        if stage == "2b":
            return "large" if self.rule.agreed == "large" else "both"
        again, surer = self.record.again.y[row], self.record.large.u[row] <= self.record.small.u[row]
        return "large" if stage == "2a" or not np.isnan(again) or surer else "small"

    def _route(self, row: int) -> Routed:
        record = self.record
        first, second = (
            None if np.isnan(answers.y[row]) else opinion(self.target, answers, row)
            for answers in (record.large, record.again)
        )
        # Every answer of a service counts the same things, so that a table of them has the same columns.
        usage = {name: self.questions.usage[row][name] for name in self.questions.large.usage}
        small = opinion(self.target, record.small, row)
        return Routed(str(record.stage[row]), self.by(row), small, first, second, int(self.calls[row]), usage)

    def _estimate(self, row: int, own: Estimate, other: Estimate | None) -> Estimate:
        """Return what is said, with interval, probabilities and contributions as far as whoever says it has any."""
        by, score = self.by(row), float(self.record.score[row])
        if by == "small":
            return own
        if self.target.spec.answer == "class":
            named = self.target.classes[int(score)]
            # A service names a class, no more; where the small run names the same one, its reasons are known.
            unknown = own if by == "both" else Estimate(None, {}, label=named)
            return other or unknown
        if other is None:
            return Estimate(None, {}, value=score)
        return mixed(own, other, self._share(row)) if by == "both" else other

    def _share(self, row: int) -> float:
        """Return the small model's share of an average, as ``routing.average`` weighs."""
        small, large = 1 - self.record.small.u[row], 1 - self.record.large.u[row]
        return float(small / (small + large)) if small + large > 0 else 0.5


def mixed(a: Estimate, b: Estimate, share: float) -> Estimate:
    """Return the mean of two numbers, ``share`` of it ``a``; without an interval, for nobody measured one.

    Shapley values are linear in what is explained: with these shares, the contributions of the mean are the mean of the
    contributions, and sum to it minus the mean of the baselines.
    """

    def mean(x: float, y: float) -> float:
        return share * x + (1 - share) * y

    names = dict.fromkeys([*a.contributions, *b.contributions])
    moved = {n: mean(a.contributions.get(n, 0.0), b.contributions.get(n, 0.0)) for n in names}
    (x, y), (u, v) = (cast("tuple[float, float]", pair) for pair in ((a.value, b.value), (a.baseline, b.baseline)))
    return Estimate(mean(u, v), moved, value=mean(x, y))
