"""A judge of clips and rows that also says how sure its run is, as the thresholds of a cascade know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polymodal.cascade.routing import Answers
from polymodal.cascade.voice import Sureness, Voice, read
from polymodal.core import Batch, Target
from polymodal.media.types import Segment
from polymodal.predict.judge import Judge
from polymodal.predict.routed import Opinion, Routed
from polymodal.predict.timeline import Moment
from polymodal.train.run import Run


class SureJudge(Judge):
    """A judge whose estimates of ``target`` hold the run's own opinion in ``cascade``, as the small model of one.

    Args:
        target, sureness: what is routed, and how uncertainty is made of it.
        run, level, abstain_at: as ``Judge``.
    """

    def __init__(self, target: Target, sureness: Sureness, run: Run, level: float, abstain_at: float | None) -> None:
        super().__init__(run, level, abstain_at)
        self._voice, self._target, self._sureness = Voice(run, target, self.panel), target, sureness

    def judged(self, batch: Batch, segments: Sequence[Segment]) -> list[Moment]:
        """See ``Judge``."""
        moments = super().judged(batch, segments)
        with self.threads():
            said = read(self._voice.said([batch]), self._sureness)
        return [
            with_route(m, self._target, Routed("1", "small", opinion(self._target, said, row)))
            for row, m in enumerate(moments)
        ]


def opinion(target: Target, answers: Answers, row: int) -> Opinion:
    """Return the answer to sample ``row`` as people read it: a number, or the name of a class."""
    y = float(answers.y[row])
    return Opinion(y if target.spec.answer == "number" else target.classes[int(y)], float(answers.u[row]))


def number_of(target: Target, said: Opinion) -> float:
    """Return an answer as routing takes it: a number, or the number of a class."""
    return float(said.answer) if target.spec.answer == "number" else float(target.classes.index(str(said.answer)))


def with_route(moment: Moment, target: Target, route: Routed) -> Moment:
    """Return ``moment`` with ``route`` in its estimate of ``target``."""
    estimates = moment.estimates
    return replace(moment, estimates={**estimates, target.name: replace(estimates[target.name], cascade=route)})
