"""What incomplete or noisy input costs, and how evenly modalities carry a result.

All figures are of the main metric, counted so that more is better, and are functions of the measures of several
conditions on the same samples: the jackknife leaves a group out of all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from polymodal.core import Estimate, Measure, Target, numpy_rng
from polymodal.core.conditions import COMPLETE, present_in
from polymodal.score import statistics as st
from polymodal.score.intervals import Blocks, summarise_tables
from polymodal.score.metrics import measures
from polymodal.score.statistics import Array, Statistic

Tables = Sequence[Mapping[str, Measure]]
"""Measures of one condition, one table per seed."""

DRAWS = 10
"""Guesses by the shares of classes, of which the mean counts."""


@dataclass(frozen=True)
class Drop:
    """What a condition costs.

    Attributes:
        condition: as ``stress.conditions`` spells it.
        drop: complete input minus the condition; above 0 where the condition is worse.
        share: the drop as a share of ``Robustness.gain``; NaN where that is not above 0 for every seed, or its interval
            begins below: a share of what may be nothing says nothing.
    """

    condition: str
    drop: Estimate
    share: Estimate


@dataclass(frozen=True)
class Robustness:
    """How a target stands incomplete and noisy input, in its main metric.

    Attributes:
        gain: of complete input over the best guess that sees nothing (``blind_guess``).
        drops: of every condition, in the order of the tables.
        worst: the proper subset of modalities that is worst in the mean over seeds; None where none was tested.
        worst_value: the metric there.
        single: the best modality alone, in the mean over seeds; None where not each was tested alone.
        synergy: complete input minus ``single``; below 0 where all together are worse than one.
        mei: Modality Equity Index (MissBench, 2026; our reading of it): how evenly the modalities share the gain, 1 for
            evenly and 0 where one brings it all. Normalised entropy of their Shapley values, those below 0 taken as 0;
            NaN where all are. None where not every subset was tested.
    """

    target: str
    metric: str
    higher_is_better: bool
    gain: Estimate
    drops: tuple[Drop, ...]
    worst: str | None
    worst_value: Estimate | None
    single: str | None
    synergy: Estimate | None
    mei: Estimate | None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Robustness:
        """Return the record that ``core.estimate.plain`` made ``stored`` of; KeyError where a field is missing."""
        known = {f.name: stored[f.name] for f in fields(cls)}
        for name in ("gain", "worst_value", "synergy", "mei"):
            known[name] = Estimate.read(known[name]) if known[name] else None
        drops = (Drop(d["condition"], Estimate.read(d["drop"]), Estimate.read(d["share"])) for d in known["drops"])
        return cls(**known | {"drops": tuple(drops)})


def robustness(
    target: Target, tables: Mapping[str, Tables], modalities: Sequence[str], true: Array, blocks: Blocks
) -> Robustness:
    """Return what the conditions other than complete input cost.

    Args:
        target: what was predicted.
        tables: condition -> measures per seed, all of the same samples in the same order; one is ``complete``.
        modalities: of the corpus.
        true: labels of the samples, as for ``score.evaluate``.
        blocks: the samples by their groups.
    """
    metric, sign = target.spec.main, _sign(target)
    guess = _turned(sign, blind_guess(target, true))
    better = {name: [_turned(sign, table[metric].value) for table in of] for name, of in tables.items()}
    mean = {name: _mean(values, len(true)) for name, values in better.items()}
    names = [name for name in tables if name != COMPLETE]
    parts = {frozenset(present_in(name, modalities)): name for name in names}
    parts = {kept: name for kept, name in parts.items() if 0 < len(kept) < len(modalities)}
    alone = [parts.get(frozenset([name]), "") for name in modalities]
    worst = min(_defined(parts.values(), mean), key=mean.__getitem__, default=None)
    single = max(_defined(alone, mean), key=mean.__getitem__, default=None) if all(alone) else None
    every = len(modalities) > 1 and len(parts) == 2 ** len(modalities) - 2

    def figures(seed: int) -> dict[str, Measure]:
        at = {name: values[seed] for name, values in better.items()}
        gain = _minus(at[COMPLETE], guess)
        found = {"gain": gain}
        for name in names:
            drop = _minus(at[COMPLETE], at[name])
            found |= {f"drop {name}": drop, f"share {name}": _over(drop, gain)}
        if single:
            found["synergy"] = _minus(at[COMPLETE], at[single])
        if every:
            gains = {kept: _minus(at[name], guess) for kept, name in parts.items()}
            found["mei"] = _equity({**gains, frozenset(modalities): gain}, modalities)
        itself = {"worst": tables[worst][seed][metric]} if worst else {}
        return itself | {name: Measure(value, tables[COMPLETE][seed][metric].count) for name, value in found.items()}

    found = summarise_tables([figures(seed) for seed in range(len(better[COMPLETE]))], blocks)
    if found["gain"].low <= 0:
        found |= {f"share {n}": _unknown(found[f"share {n}"]) for n in names}
    return Robustness(
        target=target.name,
        metric=metric,
        higher_is_better=sign > 0,
        gain=found["gain"],
        drops=tuple(Drop(n, found[f"drop {n}"], found[f"share {n}"]) for n in names),
        worst=worst,
        worst_value=found.get("worst"),
        single=single,
        synergy=found.get("synergy"),
        mei=found.get("mei"),
    )


def _unknown(figure: Estimate) -> Estimate:
    nan = math.nan
    seeds = (nan,) * len(figure.seeds)
    return replace(figure, mean=nan, std=nan, low=nan, high=nan, least=nan, most=nan, seeds=seeds)


def blind_guess(target: Target, true: Array) -> Statistic:
    """Return the main metric of the best guess that sees nothing.

    For numbers the median. For a class the commonest, or a draw by their shares, which F1 prefers. Of several classes
    at once, all or those that most samples have. Where matches are looked for, what a random order is expected to
    reach. NaN where that is unknown, or undefined (the correlation of a constant).
    """
    spec, shape = target.spec, true.shape
    known = true[spec.known(true)]
    if spec.answer == "match" or not len(known):
        chance = spec.chance(true).get(spec.main, math.nan)
        return lambda times: np.full(len(times), chance)
    if spec.answer == "number":
        guesses = [[np.full(shape, np.quantile(known, 0.5, method="lower"))]]  # some tasks have no answers in between
    elif spec.answer == "class":
        drawn = [numpy_rng("guess", i, *shape).choice(known, shape) for i in range(DRAWS)]
        guesses = [[np.full(shape, np.bincount(known.astype(int)).argmax())], drawn]
    else:
        guesses = [[np.ones(shape)], [np.broadcast_to(known.mean(axis=0) > 0.5, shape)]]
    found = [st.mean_of([measures(target, true, said)[spec.main].value for said in guess]) for guess in guesses]
    return max(found, key=lambda value: _mean([_turned(_sign(target), value)], len(true)))


def _equity(gains: Mapping[frozenset[str], Statistic], modalities: Sequence[str]) -> Statistic:
    """Return the normalised entropy of the modalities' Shapley values, ``gains`` being those of all subsets."""
    count = len(modalities)

    def value(times: Array) -> Array:
        of = {kept: gain(times) for kept, gain in gains.items()} | {frozenset[str](): np.zeros(len(times))}
        parts = np.zeros((count, len(times)))
        for part, name in zip(parts, modalities, strict=True):
            for before in of:
                if name not in before:
                    part += (of[before | {name}] - of[before]) / (count * math.comb(count - 1, len(before)))
        parts = np.maximum(parts, 0)
        shares = st.ratio(parts, parts.sum(axis=0))
        surprise = np.abs(np.log(shares, out=np.zeros_like(shares), where=shares > 0))
        return np.asarray((shares * surprise).sum(axis=0) / math.log(count))

    return value


def _defined(names: Iterable[str], mean: Mapping[str, float]) -> list[str]:
    return [name for name in names if not math.isnan(mean[name])]


def _mean(values: Sequence[Statistic], samples: int) -> float:
    """Return the mean over seeds on all samples."""
    return float(np.mean([value(np.ones((1, samples)))[0] for value in values]))


def _sign(target: Target) -> int:
    return 1 if target.spec.metrics[target.spec.main] else -1


def _turned(sign: int, value: Statistic) -> Statistic:
    return lambda times: sign * value(times)


def _minus(first: Statistic, second: Statistic) -> Statistic:
    return lambda times: first(times) - second(times)


def _over(top: Statistic, bottom: Statistic) -> Statistic:
    return lambda times: st.ratio(top(times), bottom(times))
