"""Error against the share of samples that go to the large model, the least certain first, and against chance.

Chance sends the same share at random. Who is sent has no influence on what a sample gets when it is sent, so that the
mean over all random draws is known without drawing: (1 - share) * error of the small model + share * error of what the
cascade says when it is asked. That needs the large model's answers to all samples: where it was asked about some only,
chance is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.audit.base import Evidence, mean_over_groups
from polymodal.cascade.records import Records
from polymodal.cascade.routing import STAGES, Array
from polymodal.report.metrics import MISSING as DASH

STEPS = 20
"""Stretches of the curve."""


@dataclass(frozen=True)
class Point:
    """One share.

    Attributes:
        share: of the samples that go to the large model.
        error: mean error of the cascade, with an interval over groups.
        random: mean error where the same share goes at random, the mean over draws; None where that is not known.
        difference: ``error`` minus ``random``, with an interval over groups; below 0 uncertainty chooses better.
        calls: questions to the large model.
        stages: how many samples ended in each stage.
    """

    share: float
    error: Evidence
    random: float | None
    difference: Evidence | None
    calls: int
    stages: dict[str, int]


def curve(
    whole: Records, error_small: Array, error_sent: Array, known: Array, groups: Array | None, last: float = 1.0
) -> tuple[list[Point], Evidence | None]:
    """Return the points from share 0 to ``last``, and the mean of their differences to chance over all shares, None
    where ``last`` is below 1.

    Args:
        whole: records in which the samples up to ``last``, the least certain ones, went to the large model.
        error_small, error_sent: ``(samples,)`` of the small model's answers, and of what ``whole`` says.
        known: ``(samples,)`` bool, which samples have a label: the others count in calls and stages alone.
        groups: ``(samples,)``, or None.
    """
    count = len(whole.ids)
    order = np.argsort(-whole.small.u, kind="stable")
    own = groups[known] if groups is not None else None
    points, differences, shares = [], [], np.linspace(0, last, STEPS + 1)
    for share in shares:
        sent = np.zeros(count, bool)
        sent[order[: round(share * count)]] = True
        achieved = sent.mean()
        error = np.where(sent, error_sent, error_small)[known]
        random = ((1 - achieved) * error_small + achieved * error_sent)[known]
        differences.append(error - random)
        points.append(
            Point(
                share=float(achieved),
                error=mean_over_groups("error", error, own),
                random=float(random.mean()) if last == 1 else None,
                difference=mean_over_groups("difference", error - random, own) if last == 1 else None,
                calls=int(whole.calls[sent].sum()),
                stages={s: int((np.where(sent, whole.stage, "1") == s).sum()) for s in STAGES},
            )
        )
    if last < 1:
        return points, None
    # Trapezoids over the shares, sample by sample, so that the interval is that of the mean.
    mean = np.trapezoid(np.stack(differences), shares, axis=0)
    return points, mean_over_groups("mean difference over all shares", mean, own)


def plot(points: list[Point], used: float, metric: str) -> Any:
    """Return a figure of the curve, with its intervals, against chance.

    Args:
        used: the share that the cascade's threshold sends.
        metric: what the error is called.
    """
    from polymodal.report.plots import BLUE, GREY, INK, new_figure

    figure, (ax,) = new_figure(3.4)
    x = [p.share for p in points]
    # Errors of single shares have intervals of their own; too few groups have none.
    low = [p.error.value if p.error.low is None else p.error.low for p in points]
    high = [p.error.value if p.error.high is None else p.error.high for p in points]
    ax.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0)
    ax.plot(x, [p.error.value for p in points], color=BLUE, marker="o", markersize=3, label="least certain first")
    chance = [p.random for p in points if p.random is not None]
    if chance:
        ax.plot(x, chance, color=GREY, linestyle="--", label="the same share at random")
    ax.axvline(used, color=INK, linewidth=0.8, linestyle=":", label="fitted threshold")
    ax.set_xlabel("share of samples sent to the large model")
    ax.set_ylabel(f"{metric} ↓")
    ax.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure


def table(points: list[Point]) -> str:
    """Return the points as a Markdown table."""
    lines = ["| share sent | error | 95 % over groups | at random | difference | 95 % over groups | calls | stages |"]
    lines += ["| --: | --: | --: | --: | --: | --: | --: | --- |"]
    for p in points:
        stages = ", ".join(f"{name}: {n}" for name, n in p.stages.items() if n)
        random = DASH if p.random is None else f"{p.random:.4f}"
        gap = DASH if p.difference is None else f"{p.difference.value:+.4f}"
        figures = f"{p.error.value:.4f} | {_interval(p.error)} | {random} | {gap}"
        lines.append(f"| {p.share:.2f} | {figures} | {_interval(p.difference)} | {p.calls} | {stages} |")
    return "\n".join(lines)


def _interval(evidence: Evidence | None) -> str:
    if evidence is None or evidence.low is None or evidence.high is None:
        return DASH
    return f"{evidence.low:.4f} to {evidence.high:.4f}"
