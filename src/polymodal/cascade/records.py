"""A cascade at work: what became of each sample, with all that was said on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.cascade.asking import Questions
from polymodal.cascade.routing import STAGES, Answers, Array, Rule, settle


@dataclass(frozen=True)
class Records:
    """One row per sample.

    Attributes:
        ids: names.
        score: the final answer.
        stage: one of ``routing.STAGES``.
        small, large, again: answers of the small model, of the large one, and of the large one to a second question;
            ``y`` is NaN where there was none.
        calls: questions to the large model.
        texts: (first, second) what the large model said in words.
    """

    ids: list[str]
    score: Array
    stage: Array
    small: Answers
    large: Answers
    again: Answers
    calls: Array
    texts: tuple[list[str], list[str]]

    @property
    def columns(self) -> dict[str, Any]:
        """As columns of a table; what was not asked is NaN."""
        return {
            "id": self.ids,
            "score": self.score,
            "stage": self.stage.tolist(),
            "y_small": self.small.y,
            "u_small": self.small.u,
            "y_large": self.large.y,
            "u_large": np.where(self.calls > 0, self.large.u, np.nan),
            "y_large2": self.again.y,
            "u_large2": np.where(self.calls > 1, self.again.u, np.nan),
            "calls": self.calls,
            "said": self.texts[0],
            "said2": self.texts[1],
        }

    @property
    def by_stage(self) -> dict[str, int]:
        """How many samples ended in each stage."""
        return {stage: int((self.stage == stage).sum()) for stage in STAGES}


def run(rule: Rule, questions: Questions, escalated: Array | None = None) -> Records:
    """Route all samples of ``questions``; the large model is asked no more than the rule needs.

    Args:
        escalated: ``(samples,)`` bool, which of them go to the large model, if not those that the rule says.
    """
    up = rule.escalated(questions.small.u) if escalated is None else escalated
    questions.ask(up)
    stage = np.where(up, rule.stages(questions.small.y, questions.first.y, questions.first.u), "1")
    questions.ask_again(stage == "3")
    # What was asked for another rule is not part of this one's record.
    twice = (stage == "3") & questions.large.reads_references
    first, again = _only(questions.first, up), _only(questions.second, twice)
    score = settle(rule, stage, questions.small, first, again)
    said = [t if seen else "" for t, seen in zip(questions.texts[0], up, strict=True)]
    said_again = [t if seen else "" for t, seen in zip(questions.texts[1], twice, strict=True)]
    calls = up.astype(int) + twice
    ids = [sample.id for sample in questions.samples]
    return Records(ids, score, stage, questions.small, first, again, calls, (said, said_again))


def _only(answers: Answers, rows: Array) -> Answers:
    return Answers(np.where(rows, answers.y, np.nan), np.where(rows, answers.u, 1.0))
