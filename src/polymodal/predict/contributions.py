"""What each modality contributes to a prediction: exact Shapley values over the modalities that are there.

The game (Shapley, 1953; for features of a model: Lundberg & Lee, NeurIPS 2017): players are a sample's present
modalities P; v(S) is what the run says when only those in S are there. Modality i gets

    phi_i = sum over S in P without i of |S|! (|P| - |S| - 1)! / |P|!  (v(S with i) - v(S)),

so that the contributions sum to v(P) - v(nothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import torch

from polymodal.core import Batch, Stream, Target
from polymodal.data.ragged import Array
from polymodal.methods.base import Method
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
    """

    value: Array
    baseline: Array
    contributions: dict[str, Array]


def explain(
    methods: Sequence[Method], batch: Batch, temperatures: Mapping[str, Array] | None = None
) -> dict[str, Explanation]:
    """Return target -> Explanation of what ``methods`` say together.

    v(S) is the mean over methods of a regression's value, or of the probabilities, tempered by the sample's own
    temperature, which is the same for all S.

    Args:
        methods: one per seed, in evaluation mode, on the CPU.
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
    found: dict[str, Explanation] = {}
    for target, values in _values(methods, batch, samples, (numbers[:, None] & places) > 0).items():
        if target.spec.calibration == "temperature":
            known = (temperatures or {}).get(target.name, np.ones(len(batch)))
            values = tempered(target, values, known[samples])
        table = np.full((2 ** len(places), len(batch), values.shape[1]), np.nan)
        table[numbers, samples] = values
        shares = {n: _shapley(table, whole, i) for i, n in enumerate(batch.streams)}
        found[target.name] = Explanation(table[whole, np.arange(len(batch))], table[0], shares)
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


@torch.inference_mode()
def _values(methods: Sequence[Method], batch: Batch, samples: Array, kept: Array) -> dict[Target, Array]:
    """Return target -> ``(coalitions, outputs)``: mean over methods of values or probabilities, before temperature.

    Args:
        samples: ``(coalitions,)``, row of ``batch``.
        kept: ``(coalitions, modalities)`` bool, what is there.
    """
    parts: dict[Target, list[Array]] = {t: [] for t in methods[0].schema.joint_targets}
    for start in range(0, len(samples), CHUNK):
        chunk = slice(start, start + CHUNK)
        part = _coalitions(batch, torch.from_numpy(samples[chunk]), torch.from_numpy(kept[chunk]))
        outputs = [method(part).predictions for method in methods]
        for target, found in parts.items():
            spec = target.spec
            said = [spec.columns(o[target.name].float())[spec.averaged].double() for o in outputs]
            found.append(torch.stack(said).mean(0).reshape(len(part), -1).numpy())
    return {target: np.concatenate(found) for target, found in parts.items()}


def _coalitions(batch: Batch, samples: torch.Tensor, kept: torch.Tensor) -> Batch:
    """Return the rows ``samples`` of ``batch`` with only ``kept`` (rows, modalities) there, cut to their longest."""
    part = Batch(
        {name: _rows(stream, samples) for name, stream in batch.streams.items()},
        {},
        [batch.ids[i] for i in samples.tolist()],
    )
    for column, name in enumerate(batch.streams):
        part = part.without(name, rows=~kept[:, column])
    return Batch({name: _cut(stream) for name, stream in part.streams.items()}, {}, part.ids)


def _rows(stream: Stream, rows: torch.Tensor) -> Stream:
    if isinstance(stream.values, list):
        return Stream([stream.values[i] for i in rows.tolist()], None, stream.present[rows])
    lengths = None if stream.lengths is None else stream.lengths[rows]
    return Stream(stream.values[rows], lengths, stream.present[rows])


def _cut(stream: Stream) -> Stream:
    if stream.lengths is None:
        return stream
    steps = max(1, int(stream.lengths.max()))
    return Stream(stream.tensor[:, :steps], stream.lengths, stream.present)
