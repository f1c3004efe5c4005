"""Modality importance: which modality carries what is needed to be right about a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import torch

from polymodal.audit.base import Evidence, Findings, Judge, check_subsets, mean_over_groups
from polymodal.core import Batch, Target, numpy_rng
from polymodal.data.ragged import Array

AGNOSTIC, UNANSWERED, COMPLEMENTARY, CONFLICTING = "any suffices", "never right", "needs several", "fusion hurts"

SLACK = 0.05
"""Importance that counts as none where being right is graded (regressions); with classes none is exactly 0."""

Subset = tuple[str, ...]


class Importance:
    """Modality Importance Score (Park et al., AAAI 2025, arXiv 2408.12763), for any judge with labelled samples.

    perf(q|S) says how right the judge is about sample q with only the modalities S: 1 for the right answer, 0 for a
    wrong one. The score of modality m is

        MIS_m(q) = mean over S with m of perf(q|S) - mean over non-empty S without m of perf(q|S).

    A sample is biased to m if only MIS_m is above 0, ``needs several`` if two or more are, ``any suffices`` if all are
    0 and the judge is right, ``never right`` if it never is, ``fusion hurts`` otherwise. Two checks beside: being right
    with nothing at all (a guess), and how much exchanging one modality between samples costs in each category.

    Departures: the paper asks a large model about questions; here the judge is any model. For a regression perf is 1 -
    |error| / width of the scale, and scores up to 0.05 count as 0; several classes at once are right if all are.
    """

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Ask about every subset; OptionError where there are too many modalities."""
        check_subsets(judge.schema)
        names, target = judge.schema.names, judge.schema.joint_targets[0]
        asked = _ask(judge, target, batches)
        scores = importance(asked.perf, names)
        slack = SLACK if target.spec.answer == "number" else 0.0
        kinds = np.array(categories(asked.perf, scores, slack))
        groups = np.asarray(asked.groups)
        evidence = [mean_over_groups(f"importance of {n}", scores[n], groups) for n in names]
        for kind in (*(f"biased to {n}" for n in names), COMPLEMENTARY, AGNOSTIC, CONFLICTING, UNANSWERED):
            evidence.append(mean_over_groups(f"share of samples: {kind}", (kinds == kind).astype(float), groups))
        evidence.append(mean_over_groups("right with nothing at all", asked.perf[()], groups))
        evidence += _exchange(asked, names, kinds, groups)
        samples = {"id": asked.ids, "category": kinds.tolist()}
        samples |= {f"importance/{n}": s.tolist() for n, s in scores.items()}
        samples |= {f"right/{'+'.join(s) or 'nothing'}": p.tolist() for s, p in asked.perf.items()}
        means = [float(s.mean()) for s in scores.values()]
        notes = [
            f"Imbalance of {target.name}: {max(means) - min(means):.3f}, between the most and the least important."
        ]
        about = "How right the model is with and without each modality, per sample (MIS; Park et al., AAAI 2025)."
        guessed = float(asked.perf[()].mean())
        return Findings(
            "Importance of modalities",
            about,
            evidence,
            samples,
            notes,
            asked="Which modality does the model need to be right?",
            found=[_needed(scores), f"With nothing at all, a guess, {100 * guessed:.1f} points are left."],
            limits=[
                "A modality that this model does not use may still hold what is asked for.",
                "A model that never saw a modality missing may be lost without it for that reason alone.",
            ],
        )


@dataclass
class _Asked:
    """What the judge said: how right it is (samples,) for each subset, and with one modality exchanged."""

    perf: dict[Subset, Array]
    exchanged: dict[str, Array]
    ids: list[str] = field(default_factory=list)
    groups: list[object] = field(default_factory=list)


def _ask(judge: Judge, target: Target, batches: Callable[[], Iterable[Batch]]) -> _Asked:
    names = judge.schema.names
    subsets = [kept for size in range(len(names) + 1) for kept in combinations(names, size)]
    found: dict[Subset, list[Array]] = {s: [] for s in subsets}
    exchanged: dict[str, list[Array]] = {n: [] for n in names}
    asked = _Asked({}, {})
    for batch in batches():
        batch = batch.select(batch.labelled(target.name))
        if not len(batch):
            continue
        asked.ids += batch.ids
        asked.groups += batch.ids if batch.group is None else batch.group.tolist()
        for kept in subsets:
            part = batch.without(*(n for n in names if n not in kept))
            found[kept].append(right(judge, target, part))
        order = torch.from_numpy(_partners(batch))
        for name in names:
            swapped = replace(batch, streams={**batch.streams, name: batch[name].select(order)})
            exchanged[name].append(right(judge, target, swapped))
    asked.perf = {s: np.concatenate(p) for s, p in found.items()}
    asked.exchanged = {n: np.concatenate(p) for n, p in exchanged.items()}
    return asked


def _partners(batch: Batch) -> Array:
    """Return for each sample another one of the batch, the same in every run; alone, itself."""
    order = numpy_rng("exchange", *batch.ids).permutation(len(batch))
    partners = np.empty_like(order)
    partners[order] = np.roll(order, 1)
    return partners


def right(judge: Judge, target: Target, batch: Batch) -> Array:
    """Return how right the judge is about each sample, from 0 to 1."""
    said, true = judge(batch)[target.name].double().cpu().numpy(), batch.targets[target.name].cpu().numpy()
    if target.spec.answer == "class":
        return (said.argmax(1) == true).astype(float)
    if target.spec.answer == "classes":
        return ((said > 0.5) == (true > 0.5)).all(axis=1).astype(float)
    low, high = target.range or (float(true.min()), float(true.max()))
    right: Array = 1 - np.clip(np.abs(said - true) / max(high - low, 1e-12), 0, 1)
    return right


def importance(perf: Mapping[Subset, Array], names: Sequence[str]) -> dict[str, Array]:
    """Return MIS of each modality from how right each non-empty subset is; the empty one does not count."""
    found = {}
    for name in names:
        having = np.mean([p for s, p in perf.items() if name in s], axis=0)
        lacking = [p for s, p in perf.items() if s and name not in s]
        found[name] = having - (np.mean(lacking, axis=0) if lacking else 0.0)
    return found


def _needed(scores: Mapping[str, Array]) -> str:
    """Return in words which modality is needed most; points are hundredths of being right."""
    first = max(scores, key=lambda n: float(scores[n].mean()))
    points = 100 * float(scores[first].mean())
    if len(scores) == 1:
        return f"There is only {first}: with it {points:.1f} of 100 points of being right are reached."
    if points < 0.05:
        return (
            "It needs none of its modalities: without any one of them it is as right, averaged over what else is there."
        )
    return (
        f"It needs {first} most: without it, {points:.1f} of 100 points of being right are lost, averaged over what "
        "else is there."
    )


def categories(perf: Mapping[Subset, Array], scores: Mapping[str, Array], slack: float = 0.0) -> list[str]:
    """Return the category of each sample.

    Args:
        perf: subset -> ``(samples,)``, how right.
        scores: modality -> ``(samples,)``.
        slack: largest score that counts as 0.
    """
    names = list(scores)
    table = np.stack([scores[n] for n in names], axis=1)
    best = np.max([p for s, p in perf.items() if s], axis=0)
    found = []
    for row, reached in zip(table, best, strict=True):
        above = [n for n, value in zip(names, row, strict=True) if value > slack + 1e-12]
        if len(above) == 1:
            found.append(f"biased to {above[0]}")
        elif above:
            found.append(COMPLEMENTARY)
        elif (np.abs(row) <= slack + 1e-12).all():
            found.append(AGNOSTIC if reached > slack else UNANSWERED)
        else:
            found.append(CONFLICTING)
    return found


def _exchange(asked: _Asked, names: Sequence[str], kinds: Array, groups: Array) -> list[Evidence]:
    """Return what exchanging a modality between samples costs, in the categories in which it should and should not."""
    whole = asked.perf[tuple(names)]
    lines = []
    for name in names:
        lost = whole - asked.exchanged[name]
        for kind in (f"biased to {name}", *(f"biased to {n}" for n in names if n != name), COMPLEMENTARY):
            rows = kinds == kind
            if rows.any():
                lines.append(mean_over_groups(f"lost by exchanging {name}: {kind}", lost[rows], groups[rows]))
    return lines


AUDIT = Importance
