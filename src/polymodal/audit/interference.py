"""Modality interference: whether a modality that is not needed changes an answer when it says something else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from polymodal.audit._choices import classes_of, distance, middle, rightness, width
from polymodal.audit.base import Evidence, Findings, Judge, mean_over_groups
from polymodal.core import Batch, DataError, Schema, Target
from polymodal.data.ragged import Array
from polymodal.stress.draw import Draw
from polymodal.stress.interfere import KINDS, replaced

Version = Callable[[Batch], Batch]

WORDS = {
    "blank": "an empty one",
    "random": "random values",
    "unrelated": "another sample's",
    "misleading": "a misleading one",
}
"""What stands in the place of a modality, as tables call it; misleading: of a sample with another label."""


class Interference:
    """The causal diagnosis of Cai et al. (2025, arXiv 2505.19616): intervene on what an answer does not need.

    A sample does not need modality m if the judge is right about it without m. Then m is made to say something else
    (``stress.interfere``), and interference is the share of these samples whose answer changes: another class, or the
    other half of a number's scale. Beside: how far answers move (total variation, or the part of the scale), and how
    many stay right.

    Departures: the paper knows of every question which modality it is about (pictures to be named, texts to be
    understood); here the judge says so itself, unless ``relevant`` names the only one that counts. A judge that is
    right without m by luck is counted, so that some answers change by luck as well.

    Args:
        relevant: the one modality that the label depends on, where that is known; all others are then not needed.
    """

    def __init__(self, relevant: str = "") -> None:
        self.relevant = relevant

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Ask; DataError for one modality, or answers that are neither a class nor a number."""
        schema, target = judge.schema, judge.schema.joint_targets[0]
        if len(schema.names) < 2:
            raise DataError(f"there is only {schema.names[0]}: nothing that is not needed can interfere with it")
        names = [n for n in schema.names if n != self.relevant]
        asked = ask(judge, target, batches, _versions(schema, names))
        if not len(asked.true):
            raise DataError(f"no sample has a label of {target.name!r}; choose another split")
        centre, scale = middle(target, asked.true), width(target, asked.true)
        true = classes_of(target, asked.true, centre)
        chosen = {version: classes_of(target, said, centre) for version, said in asked.said.items()}
        whole = asked.said["whole"]
        evidence: list[Evidence] = []
        found: list[str] = []
        samples: dict[str, list[object]] = {"id": list(asked.ids)}
        for name in names:
            free = np.ones(len(true), bool) if self.relevant else chosen[f"without {name}"] == true
            samples[f"{name}/not needed"] = free.tolist()
            moved = {}
            for kind in KINDS:
                changed = (chosen[f"{name}/{kind}"] != chosen["whole"]).astype(float)
                moved[kind] = changed
                samples[f"{name}/{kind}/changed"] = changed.tolist()
            if not free.any():
                found.append(f"There is no sample that the model is right about without {name}.")
                continue

            def line(part: str, what: str, values: Array, rows: Array = free) -> None:
                evidence.append(_in(part, mean_over_groups(what, values[rows], asked.groups[rows])))

            for kind in KINDS:
                line(f"{name} is not needed: answers that change with", WORDS[kind], moved[kind])
            right = {v: rightness(target, asked.said[v], asked.true, scale) for v in asked.said}
            line(f"{name} is not needed: how right with", "its own", right["whole"])
            for kind in KINDS:
                line(f"{name} is not needed: how right with", WORDS[kind], right[f"{name}/{kind}"])
            for kind in KINDS:
                far = distance(target, whole, asked.said[f"{name}/{kind}"], scale)
                line(f"{name} is not needed: how far answers move with", WORDS[kind], far)
            worst = KINDS[int(np.argmax([moved[kind][free].mean() for kind in KINDS]))]
            found.append(
                f"{name} is not needed for {int(free.sum())} of {len(free)} samples; with {WORDS[worst]} in its "
                f"place, {moved[worst][free].mean():.1%} of these answers change."
            )
        measures = ("answers that change", "how right", "how far")
        evidence.sort(key=lambda line: [m in line.part for m in measures].index(True))  # what matters most first
        return Findings(
            "Interference",
            "Answers that change when a modality that is not needed says something else (Cai et al., 2025).",
            evidence,
            samples,
            asked="When a modality is not needed for an answer, does the answer change if it says something else?",
            found=found,
            limits=[
                "Which modality is needed is judged by the model's own answers, unless it was told: a lucky answer "
                "counts as one that needs nothing more.",
                "What stands in its place is made, not recorded: real contradictions are rarer and milder.",
            ],
        )


@dataclass
class Asked:
    """What a judge said of labelled samples, in several versions.

    Attributes:
        said: version -> ``(samples,)`` values or ``(samples, classes)`` probabilities.
        true: labels.
        groups: of the samples; their ids where no groups are known.
        ids: of the samples.
    """

    said: dict[str, Array]
    true: Array
    groups: Array
    ids: list[str] = field(default_factory=list)


def ask(judge: Judge, target: Target, batches: Callable[[], Iterable[Batch]], versions: Mapping[str, Version]) -> Asked:
    """Return what ``judge`` says of every version of the labelled samples of ``batches``."""
    said: dict[str, list[Array]] = {version: [] for version in versions}
    true: list[Array] = []
    groups: list[object] = []
    ids: list[str] = []
    for batch in batches():
        batch = batch.select(batch.labelled(target.name))
        if not len(batch):
            continue
        ids += batch.ids
        groups += batch.ids if batch.group is None else batch.group.tolist()
        true.append(batch.targets[target.name].cpu().numpy())
        for version, change in versions.items():
            said[version].append(judge(change(batch))[target.name].double().cpu().numpy())
    joined = {version: np.concatenate(parts) if parts else np.empty(0) for version, parts in said.items()}
    return Asked(joined, np.concatenate(true) if true else np.empty(0), np.asarray(groups), ids)


def _versions(schema: Schema, names: list[str]) -> dict[str, Version]:
    found: dict[str, Version] = {"whole": lambda batch: batch}
    for name in names:
        found[f"without {name}"] = partial(_without, name=name)
        for kind in KINDS:
            found[f"{name}/{kind}"] = partial(_replaced, name=name, kind=kind)
    return found


def _without(batch: Batch, name: str) -> Batch:
    return batch.without(name)


def _replaced(batch: Batch, name: str, kind: str) -> Batch:
    return replaced(batch, Draw(("interference",), batch.ids), name, kind)  # type: ignore[arg-type]


def _in(part: str, line: Evidence) -> Evidence:
    return replace(line, part=part)


AUDIT = Interference
