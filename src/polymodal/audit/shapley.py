"""Shapley values: what each modality contributes to a prediction, exactly, over the modalities that are there.

The game (Shapley, 1953; for features of a model: Lundberg & Lee, NeurIPS 2017): players are a sample's present
modalities P; v(S) is what the run says when only those in S are there. Modality i gets

    phi_i = sum over S in P without i of |S|! (|P| - |S| - 1)! / |P|!  (v(S with i) - v(S)),

so that the contributions sum to v(P) - v(nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import factorial

import numpy as np
import torch

from polymodal.audit.base import Findings, Judge, check_subsets, mean_over_groups
from polymodal.core import Batch
from polymodal.data.ragged import Array
from polymodal.score.calibration import tempered

CHUNK = 32
"""Coalitions in one forward pass: as many samples as a usual training batch."""


@dataclass(frozen=True)
class Explanation:
    """One target of a batch; the last axis is 1 for a regression, else the classes (probabilities).

    Attributes:
        value: ``(batch, outputs)``, everything that is there.
        baseline: ``(batch, outputs)``, nothing there.
        contributions: modality -> ``(batch, outputs)``, 0 where it is absent; ``value - baseline`` is their sum.
        alone: modality -> ``(batch, outputs)``, what is said with nothing else there, minus ``baseline``; NaN where it
            is absent.
    """

    value: Array
    baseline: Array
    contributions: dict[str, Array]
    alone: dict[str, Array]


def explain(judge: Judge, batch: Batch, temperatures: Mapping[str, Array] | None = None) -> dict[str, Explanation]:
    """Return target -> Explanation of what ``judge`` says.

    v(S) is a regression's value, or the probabilities, tempered by the sample's own temperature, which is the same for
    all S.

    Args:
        judge: on the CPU.
        batch: normalised samples; targets are not looked at.
        temperatures: target with classes -> ``(batch,)``; 1 where not given.
    """
    present = batch.present.numpy()
    places = 1 << np.arange(present.shape[1])
    whole = present @ places  # coalitions are numbers whose bits are the modalities
    # All coalitions of all samples, sorted by coalition: those of a chunk lack the same modalities, so that the steps
    # that only an absent modality has are cut off.
    members = [np.flatnonzero(whole & s == s) for s in range(2 ** len(places))]
    samples = np.concatenate(members)
    numbers = np.repeat(np.arange(len(members)), [len(m) for m in members])
    said = _values(judge, batch, samples, (numbers[:, None] & places) > 0)
    found: dict[str, Explanation] = {}
    for target in judge.schema.joint_targets:
        values = said[target.name]
        if target.spec.calibration == "temperature":
            known = (temperatures or {}).get(target.name, np.ones(len(batch)))
            values = tempered(target, values, known[samples])
        table = np.full((2 ** len(places), len(batch), values.shape[1]), np.nan)
        table[numbers, samples] = values
        shares = {n: _shapley(table, whole, i) for i, n in enumerate(batch.streams)}
        alone = {n: table[1 << i] - table[0] for i, n in enumerate(batch.streams)}
        found[target.name] = Explanation(table[whole, np.arange(len(batch))], table[0], shares, alone)
    return found


def _shapley(table: Array, whole: Array, player: int) -> Array:
    """Return the contributions of modality number ``player``.

    Args:
        table: ``(coalitions, batch, outputs)``, v(S); NaN where S is not part of a sample's modalities.
        whole: ``(batch,)``, coalition of all modalities of each sample.
    """
    shares = np.zeros(table.shape[1:])
    bit = 1 << player
    players = np.bitwise_count(whole)
    for before in (s for s in range(len(table)) if not s & bit):
        size = before.bit_count()
        rows = np.flatnonzero(whole & (before | bit) == (before | bit))
        weights = [factorial(size) * factorial(int(p) - size - 1) / factorial(int(p)) for p in players[rows]]
        shares[rows] += np.asarray(weights).reshape(-1, 1) * (table[before | bit, rows] - table[before, rows])
    return shares


def _values(judge: Judge, batch: Batch, samples: Array, kept: Array) -> dict[str, Array]:
    """Return target -> ``(coalitions, outputs)``: values or probabilities, before temperature.

    Args:
        samples: ``(coalitions,)``, row of ``batch``.
        kept: ``(coalitions, modalities)`` bool, what is there.
    """
    parts: dict[str, list[Array]] = {t.name: [] for t in judge.schema.joint_targets}
    for start in range(0, len(samples), CHUNK):
        chunk = slice(start, start + CHUNK)
        part = _coalitions(batch, torch.from_numpy(samples[chunk]), torch.from_numpy(kept[chunk]))
        for name, values in judge(part).items():
            parts[name].append(values.double().reshape(len(part), -1).numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def _coalitions(batch: Batch, samples: torch.Tensor, kept: torch.Tensor) -> Batch:
    """Return the rows ``samples`` of ``batch`` with only ``kept`` (rows, modalities) there, cut to their longest."""
    part = Batch(batch.streams, {}, batch.ids).select(samples)
    for column, name in enumerate(batch.streams):
        part = part.without(name, rows=~kept[:, column])
    return part.select(torch.arange(len(samples)))


class Shapley:
    """How far each modality moves the predictions: the mean size of its Shapley value.

    A contribution's size is summed over classes and halved, so that it is the probability that is moved. Shares are of
    all movement.
    """

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Explain every sample of ``batches``; OptionError where there are too many modalities."""
        check_subsets(judge.schema)
        names = judge.schema.names
        columns: dict[str, list[float]] = {}
        ids: list[str] = []
        groups: list[object] = []
        for batch in batches():
            ids += batch.ids
            groups += batch.ids if batch.group is None else batch.group.tolist()
            for target, found in explain(judge, batch).items():
                half = 1.0 if found.value.shape[1] == 1 else 0.5
                for name, moved in found.contributions.items():
                    columns.setdefault(f"{target}/{name}", []).extend((half * np.abs(moved).sum(1)).tolist())
        evidence = []
        for goal in judge.schema.joint_targets:
            sizes: dict[str, Array] = {n: np.asarray(columns[f"{goal.name}/{n}"]) for n in names}
            whole = sum(float(s.mean()) for s in sizes.values()) or 1.0
            for name, size in sizes.items():
                what = f"{goal.name}: moved by {name} ({100 * size.mean() / whole:.0f} % of all)"
                evidence.append(mean_over_groups(what, size, np.asarray(groups)))
        about = "Mean size of exact Shapley values over subsets of modalities (Shapley, 1953; Lundberg & Lee, 2017)."
        first = judge.schema.joint_targets[0].name
        means = {n: float(np.mean(columns[f"{first}/{n}"])) for n in names}
        most = max(means, key=lambda n: means[n])
        share = means[most] / (sum(means.values()) or 1.0)
        return Findings(
            "Contributions of modalities",
            about,
            evidence,
            {"id": ids, **columns},
            asked="How far does each modality move the answers, whether they are right or wrong?",
            found=[f"{most} moves answers about {first} most: {share:.0%} of all movement."],
            limits=[
                "Moving an answer is not mending it: what moves most may mislead most.",
                "What two modalities do only together is shared out between them.",
            ],
        )


AUDIT = Shapley
