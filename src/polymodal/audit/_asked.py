"""What audits of people and errors collect: what was said of labelled samples, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from polymodal.audit.base import Evidence, Judge, interval
from polymodal.core import Batch, Stream, Target
from polymodal.data.ragged import Array
from polymodal.nn.sequence import masked_mean
from polymodal.score.intervals import Blocks
from polymodal.score.statistics import Statistic


@dataclass(frozen=True)
class Known:
    """What is known of samples beside features and labels.

    Attributes:
        columns: column -> id -> value, "" where nothing is known.
        by: columns that the audit is asked to compare by.
    """

    columns: Mapping[str, Mapping[str, str]]
    by: tuple[str, ...] = ()

    def of(self, column: str, ids: Iterable[str]) -> Array:
        """Return the values of ``column`` for samples, ``(samples,)`` strings."""
        return np.array([self.columns[column].get(i, "") for i in ids], dtype=str)


@dataclass(frozen=True)
class Asked:
    """What a judge said of labelled samples.

    Attributes:
        ids: the samples.
        groups: ``(samples,)``, equal within a group.
        said: ``(samples,)`` values, or ``(samples, classes)`` probabilities.
        true: labels.
        states: one array ``(samples, width)`` per method behind the judge: its fused vector; none where that is not
            known.
        inputs: ``(samples, width)``, means over time of all modalities but text; None where there is only text.
    """

    ids: list[str]
    groups: Array
    said: Array
    true: Array
    states: list[Array]
    inputs: Array | None


def ask(judge: Judge, target: Target, batches: Callable[[], Iterable[Batch]]) -> Asked:
    """Return what ``judge`` says of the samples whose label ``target`` is known; arrays are empty where none is."""
    ids: list[str] = []
    groups: list[object] = []
    said, true, states, inputs = [], [], [], []
    for whole in batches():
        batch = whole.select(whole.labelled(target.name))
        if not len(batch):
            continue
        ids += batch.ids
        groups += batch.ids if batch.group is None else batch.group.tolist()
        said.append(judge(batch)[target.name].double().cpu().numpy())
        true.append(batch.targets[target.name].cpu().numpy())
        if hasattr(judge, "states"):
            states.append(judge.states(batch))
        parts = [pooled(s) for s in batch.streams.values() if not isinstance(s.values, list)]
        if parts:
            inputs.append(np.concatenate(parts, axis=1))
    return Asked(
        ids,
        np.asarray(groups),
        np.concatenate(said) if said else np.zeros(0),
        np.concatenate(true) if true else np.zeros(0),
        [np.concatenate(parts) for parts in zip(*states, strict=True)],
        np.concatenate(inputs) if inputs else None,
    )


def pooled(stream: Stream) -> Array:
    """Return ``(batch, width)``: a vector as it is, means over steps, means over pixels."""
    values = stream.tensor
    if values.dim() > 3:  # pixels
        values = values.float().mean(dim=(-2, -1))
    if stream.lengths is not None:
        values = masked_mean(values, stream.mask)
    found: Array = torch.nan_to_num(values.double()).cpu().numpy()
    return found


def figure(
    what: str,
    statistic: Statistic,
    count: int,
    blocks: Blocks,
    part: str = "",
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Evidence:
    """Return a statistic of all samples of ``blocks`` with its ``interval``.

    Args:
        count: samples that it is about.
        bounds: lowest and highest value that it can have, where an interval ends.
    """
    value = float(statistic(np.ones((1, len(blocks.member))))[0])
    low, high = (None, None) if np.isnan(value) else interval(statistic, value, blocks)
    if low is not None and high is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Evidence(what, value, count, blocks.groups, low, high, part)


def rate(values: Array, within: Array) -> Statistic:
    """Return the mean of ``values`` over the samples ``within`` (both ``(samples,)``), NaN where there is none."""
    inside = within.astype(float)
    weighted = values.astype(float) * inside

    def of(times: Array) -> Array:
        counts = times @ inside
        found: Array = np.where(counts > 0, times @ weighted / np.maximum(counts, 1e-12), np.nan)
        return found

    return of


def difference(first: Statistic, second: Statistic) -> Statistic:
    """Return the first statistic minus the second."""
    return lambda times: first(times) - second(times)


def cost(before: Array, after: Array) -> str:
    """Return what is lost between how right a judge was and is, in words; points are hundredths of being right."""
    lost = 100 * float((before - after).mean())
    if abs(lost) < 0.05:
        return "Nothing is lost"
    return f"{abs(lost):.1f} of 100 points of being right are {'lost' if lost > 0 else 'won'}"
