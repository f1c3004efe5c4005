"""What a search says: a line per candidate, and ``best.json``."""

from __future__ import annotations

from typing import Any

from polymodal.best.assemble import Choice
from polymodal.best.budget import Budget
from polymodal.best.curve import Curve
from polymodal.best.ground import Ground
from polymodal.best.records import Record, Records
from polymodal.core.estimate import plain
from polymodal.report.best import FILE
from polymodal.report.metrics import is_percent, label, write_value
from polymodal.score import compare_tables
from polymodal.train.checkpoint import write_json

SAME = 1e-4
"""A metric that differs from the loss by less is the loss."""


def line_of(record: Record, ground: Ground, choice: Choice | None) -> str:
    """Return what became of a candidate, and the best so far, as one line."""
    name = str(record.candidate)
    if record.state != "done" or choice is None:
        return f"{name}: given up, {record.why}"
    own = written(ground, choice, choice.alone[-1])
    losses = [choice.jury.loss(weights) for weights in choice.alone]
    single = losses.index(min(losses))
    members = sum(map(bool, choice.whole))
    if members == 1:
        return f"{name}: {own}; best: {choice.candidates[single]}, {written(ground, choice, choice.whole)}"
    return f"{name}: {own}; best: {members} together, {written(ground, choice, choice.whole)}"


def written(ground: Ground, choice: Choice, weights: list[float]) -> str:
    """Return the main metric of a weighted mean of candidates, and the loss where that is another."""
    metric, loss = ground.targets[0].spec.main, choice.jury.loss(weights)
    value = ground.figure(choice.jury.decided(weights)).mean
    said = f"{label(metric)} {write_value(metric, value)}{'%' if is_percent(metric) else ''}"
    return said if abs(value - loss) < SAME else f"{said}, loss {loss:.3f}"


def write_best(ground: Ground, records: Records, choice: Choice, budget: Budget, curve: Curve | None = None) -> None:
    """Write ``best.json`` into the run folder: what was tried, what was chosen, what it gained."""
    found = summary(ground, records, choice, budget)
    write_json(records.folder / FILE, found | {"curve": plain(curve) if curve else None})


def summary(ground: Ground, records: Records, choice: Choice, budget: Budget) -> dict[str, Any]:
    """Return what ``best.json`` holds, without the learning curve."""
    target = ground.targets[0]
    metric = target.spec.main
    losses = [choice.jury.loss(weights) for weights in choice.alone]
    single = losses.index(min(losses))
    nested, alone = choice.nested(ground, choice.folds), choice.nested(ground, choice.single(ground))
    gain = compare_tables([ground.measures(nested)], [ground.measures(alone)], metric, ground.blocks)
    return {
        "minutes": budget.seconds / 60,
        "seconds": round(records.spent, 1),
        "samples": len(ground.dealt.pooled),
        "folds": len(ground.folds),
        "by": ground.dealt.folds.by,
        "target": target.name,
        "metric": metric,
        "higher_is_better": target.spec.metrics[metric],
        "encode": records.encode,
        "tried": [_tried(record, ground, choice) for record in records.done],
        "single": {
            "name": str(choice.candidates[single]),
            "loss": losses[single],
            "figure": plain(ground.figure(choice.jury.decided(choice.alone[single]))),
        },
        "ensemble": {
            "loss": choice.jury.loss(choice.whole),
            "figure": plain(ground.figure(choice.jury.decided(choice.whole))),
        },
        "nested": {
            "ensemble": plain(ground.figure(nested)),
            "single": plain(ground.figure(alone)),
            "gain": plain(gain),
        },
        "members": [
            {
                "name": str(choice.candidates[n]),
                "weight": choice.whole[n],
                "by_fold": [weights[n] for weights in choice.folds],
            }
            for n in choice.members
        ],
        "lifted": _lifted(choice),
        "honest": honest(ground),
    }


def _lifted(choice: Choice) -> dict[str, dict[str, float]]:
    """Return what logits of rare classes get, target by target, where they get any."""
    named = {t.name: t.classes for t in choice.jury.targets}
    offsets = choice.jury.offsets(choice.whole)
    return {
        name: dict(zip(named[name], [round(x, 2) for x in offset.tolist()], strict=True))
        for name, offset in offsets.items()
        if offset.any()
    }


def _tried(record: Record, ground: Ground, choice: Choice) -> dict[str, Any]:
    about = {
        "name": str(record.candidate),
        "state": record.state,
        "why": record.why,
        "seconds": round(record.seconds, 2),
        "loss": record.loss,
        "figure": None,
    }
    if record.state == "done":
        number = list(choice.candidates).index(record.candidate)
        about["figure"] = plain(ground.figure(choice.jury.decided(choice.alone[number])))
    return about


def honest(ground: Ground) -> str:
    """Return which figures may be believed, in words."""
    kept = [name for name in ground.corpus.test_splits if name != ground.dealt.folds.tested]
    nested = (
        "the nested figures (weights chosen on the other folds) are nearly honest: what was tried did not depend on "
        "them, but members of other folds learned from the samples"
    )
    told = "Figures of candidates and of the ensemble are those it was chosen by, and too good"
    if kept:
        return f"{told}; {nested}. The honest figure is that of {', '.join(kept)}, which nothing was chosen on."
    return f"{told}; {nested}. There is no test split: only people that were never dealt would tell more."
