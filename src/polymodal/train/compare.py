"""Runs against each other on the same test samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.core import DataError, OptionError, Target, nearest
from polymodal.core.conditions import COMPLETE
from polymodal.core.records import read_record
from polymodal.score import (
    align,
    holm,
    paired_difference,
    sample_scores,
    sign_flip,
    swap_test,
    told_apart,
)
from polymodal.train.evaluate import evaluate
from polymodal.train.records import ScoresRecord
from polymodal.train.run import Run

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PairedTest:
    """A run against the reference run, complete input, mean over seeds.

    Attributes:
        difference, low, high: run minus reference, with the 95% interval over groups and seeds (NaN where groups are
            too few).
        p: permutation test (sign flips where the metric is a mean over samples, else exchange of predictions), of whole
            groups.
        groups: groups of test samples; samples where no groups are known.
        p_holm: adjusted for the number of runs compared.
    """

    run: str
    reference: str
    metric: str
    higher_is_better: bool
    difference: float
    low: float
    high: float
    p: float
    groups: int
    p_holm: float

    @property
    def told(self) -> bool:
        """Whether the corrected test and the interval both say that it is no luck."""
        return told_apart(self.p_holm, self.low, self.high)

    @property
    def sentence(self) -> str:
        """The result in words."""
        better = (self.difference > 0) == self.higher_is_better
        verdict = "better" if better else "worse"
        sure = verdict if self.told else f"{verdict}, but it may be luck" if self.difference else "no difference"
        known = math.isfinite(self.low)
        between = f"[{self.low:+.4f}, {self.high:+.4f}]" if known else f"(no interval: {self.groups} groups)"
        return (
            f"{self.run} against {self.reference}: {self.metric} {self.difference:+.4f} "
            f"{between}, p = {self.p:.4f} (Holm {self.p_holm:.4f}): {sure}"
        )


def load_scores(run: Run) -> dict[str, Any]:
    """Return ``evaluation/scores.json`` of a run, evaluating it first where that was not done for all of its seeds."""
    file = run.path / "evaluation" / "scores.json"
    if not file.is_file():
        return evaluate(run)
    scores = dict(read_record(file, ScoresRecord, f"run: polymodal evaluate {run.path}"))
    return scores if scores["seeds"] == run.seeds else evaluate(run)


def paired_tests(runs: Sequence[Run], *, split: str = "test", metric: str | None = None) -> list[PairedTest]:
    """Test every run but the first against the first.

    Args:
        runs: evaluated runs (see ``load_scores``) with the same main target and test samples.
        split: test split.
        metric: of the main target; default its main metric.

    Raises:
        DataError: the runs were tested on other samples or targets.
        OptionError: the target has no such metric.
    """
    target = runs[0].schema.joint_targets[0]
    metric, better = metric or target.spec.main, target.spec.metrics
    if metric not in better:
        raise OptionError(f"{target.name} has no metric {metric!r}{nearest(metric, better)}")
    reference = _predictions(runs[0], split, target)
    found = []
    for run in runs[1:]:
        if run.schema.joint_targets[0] != target:
            name = run.schema.joint_targets[0].name
            raise DataError(f"{run.path} predicts {name}, {runs[0].path} {target.name}; compare runs on one target")
        found.append(_against(target, metric, reference, _predictions(run, split, target)))
    adjusted = holm([p for *_, p, _ in found])
    return [
        PairedTest(str(run.path), str(runs[0].path), metric, better[metric], *values, p_holm)
        for run, values, p_holm in zip(runs[1:], found, adjusted, strict=True)
    ]


def _predictions(run: Run, split: str, target: Target) -> dict[str, Array]:
    """Return ids, labels, and one row of predictions (and probabilities) per seed, complete input."""
    from pyarrow import compute

    from polymodal.train.predictions import FILE, column, read_table

    file = run.path / "evaluation" / FILE
    table = read_table(file, condition=COMPLETE)
    splits = set(table["split"].to_pylist())
    if split not in splits:
        raise DataError(f"{run.path} was not tested on {split!r}{nearest(split, splits)}")
    table = table.filter(compute.equal(table["split"], split))
    parts = [table.filter(compute.equal(table["seed"], seed)) for seed in run.seeds]
    out = {"id": column(parts[0], "id"), "true": column(parts[0], f"{target.name}/true")}
    if "group" in table.column_names:
        out["group"] = column(parts[0], "group")
    for name in ("predicted", "probability"):
        key = f"{target.name}/{name}"
        if key in table.column_names:
            out[name] = np.stack([column(part, key) for part in parts])
    return out


def _against(
    target: Target, metric: str, reference: dict[str, Array], other: dict[str, Array]
) -> tuple[float, float, float, float, int]:
    """Return difference, low, high, permutation p value and number of groups of ``other`` against ``reference``."""
    rows = align(reference["id"].tolist(), other["id"].tolist())
    a, b = other["predicted"][:, rows], reference["predicted"]
    pa = other["probability"][:, rows] if "probability" in other else None
    pb = reference.get("probability")
    true = reference["true"]
    if not np.array_equal(true, other["true"][rows], equal_nan=true.dtype.kind == "f"):
        raise DataError("the runs were tested on different labels of the same samples; compare runs on the same corpus")
    groups = reference.get("group")
    shown = paired_difference(target, true, a, b, metric, probability_a=pa, probability_b=pb, groups=groups)
    if metric == target.spec.sample_metric:
        means = [np.mean([sample_scores(target, true, p) for p in x], axis=0) for x in (a, b)]
        p = sign_flip(means[0] - means[1], groups=groups)
    elif len(a) == len(b):
        p = swap_test(target, true, a, b, metric, probability_a=pa, probability_b=pb, groups=groups)
    else:  # exchanging predictions needs as many seeds on both sides
        p = shown.p
    return shown.difference, shown.low, shown.high, p, shown.groups
