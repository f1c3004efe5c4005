"""What the numbers say, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.report.metrics import is_percent, long_name, write_value
from polymodal.report.rows import Row

if TYPE_CHECKING:
    from polymodal.train.compare import PairedTest


def verdict(rows: Sequence[Row], split: str, data: str) -> list[str]:
    """Return sentences about the main metric of one target.

    Args:
        rows: that metric on every split and subset.
        split: the split to speak about.
        data: name of the corpus.
    """
    here = [r for r in rows if r.split == split]
    complete = next((r for r in here if r.complete), None)
    if complete is None:
        return [f"The evaluation has no figure for the complete input on {split}."]
    if not math.isfinite(complete.mean):
        return [f"The {long_name(complete.metric)} of {complete.method} on {split} could not be computed."]
    there = [r for r in rows if r.complete and r.split not in (split, "train", "valid") and math.isfinite(r.mean)]
    sentences = [
        _result(complete, data),
        _removal(complete, here),
        _alone(complete, here),
        *(_elsewhere(complete, r) for r in there),
    ]
    return [s for s in sentences if s]


def against_floor(test: PairedTest, data: str) -> str:
    """Return whether a run is better than the floor on the corpus ``data``; both are called by their folders' names.

    A difference counts where its p value is below 0.05 and its 95% interval leaves zero out.
    """
    run, floor = Path(test.run).name, Path(test.reference).name
    if not math.isfinite(test.difference):
        return f"On {data}, {run} could not be compared with the floor {floor}."
    better = (test.difference > 0) == test.higher_is_better
    verdict = f"is {'better' if better else 'worse'} than the floor {floor}, by more than luck"
    if not test.told:
        verdict = f"cannot be told from the floor {floor}"
    points = " points" if is_percent(test.metric) else ""
    size, low, high = (f"{'+' * (v > 0)}{write_value(test.metric, v)}" for v in (test.difference, test.low, test.high))
    return (
        f"On {data}, {run} {verdict}: {long_name(test.metric)} {size}{points} (95% interval {low} to {high}, "
        f"p {'< 0.001' if test.p_holm < 0.001 else f'= {test.p_holm:.3f}'}; "
        f"{'higher' if test.higher_is_better else 'lower'} is better)."
    )


def over_targets(rows: Sequence[Row]) -> list[str]:
    """Return a sentence about the best and the worst of several targets; ``rows`` share one metric."""
    known = [r for r in rows if math.isfinite(r.mean)]
    known.sort(key=lambda r: -r.mean if r.higher_is_better else r.mean)
    if len(known) < 2:
        return []
    best, worst = known[0], known[-1]
    return [
        f"Of {len(known)} targets, {best.target} is predicted best ({_say(best, best.mean)}) and {worst.target} worst "
        f"({_say(worst, worst.mean)})."
    ]


def _result(row: Row, data: str) -> str:
    known = math.isfinite(row.low) and math.isfinite(row.high)
    between = f"95% interval {_say(row, row.low)} to {_say(row, row.high)}, " if known else ""
    if math.isfinite(row.least):
        between = f"single groups {_say(row, row.least)} to {_say(row, row.most)}, "
    seeds = f", mean of {len(row.seeds)} seeds" if len(row.seeds) > 1 else ", one seed"
    better = "higher" if row.higher_is_better else "lower"
    return (
        f"{row.method} predicts {row.target} on {data} with {long_name(row.metric)} {_say(row, row.mean)} "
        f"({between}{row.size}{seeds}; {better} is better)."
    )


def _removal(complete: Row, rows: Sequence[Row]) -> str:
    """What is lost without the modality that the method needs most."""
    parts = set(complete.present)
    without = [r for r in rows if r.present and len(r.present) == len(parts) - 1 and math.isfinite(r.mean)]
    if not without:
        return ""
    worst = max(without, key=lambda r: _loss(complete, r))
    gone = next(iter(parts - set(worst.present)))
    if _loss(complete, worst) <= 0:
        return "No single modality is needed: without any one of them the result is no worse."
    caution = " (the intervals overlap)" if worst.low <= complete.high and complete.low <= worst.high else ""
    if math.isfinite(complete.least):
        caution = f" ({complete.groups} groups are too few for an interval)"
    return f"Without {gone}, the modality it needs most, {_move(complete, worst)}{caution}."


def _alone(complete: Row, rows: Sequence[Row]) -> str:
    single = [r for r in rows if len(r.present) == 1 < len(complete.present) and math.isfinite(r.mean)]
    if not single:
        return ""
    best = min(single, key=lambda r: _loss(complete, r))
    if _loss(complete, best) <= 0:
        return f"The best single modality is {best.subset}, and alone it is no worse: {_say(best, best.mean)}."
    return f"The best single modality is {best.subset}: with it alone, {_move(complete, best)}."


def _elsewhere(here: Row, there: Row) -> str:
    kind = "out-of-domain split" if "ood" in there.split.lower() else "split"
    where = f"On the {kind} {there.split} ({there.count} samples)"
    if _loss(here, there) <= 0:
        return f"{where} it is no worse than on {here.split}: {_say(there, there.mean)}."
    return f"{where} {_move(here, there)}."


def _loss(reference: Row, row: Row) -> float:
    """By how much ``row`` is worse than ``reference``, in stored units; negative where it is better."""
    return (reference.mean - row.mean) * (1 if row.higher_is_better else -1)


def _move(reference: Row, row: Row) -> str:
    """For example ``the mean absolute error rises by 0.120 to 0.830``."""
    amount = write_value(row.metric, _loss(reference, row)) + (" points" if is_percent(row.metric) else "")
    verb = "falls" if row.higher_is_better else "rises"
    return f"the {long_name(row.metric)} {verb} by {amount} to {_say(row, row.mean)}"


def _say(row: Row, value: float) -> str:
    return write_value(row.metric, value) + ("%" if is_percent(row.metric) else "")
