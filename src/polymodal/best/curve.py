"""What more data would gain: a good, cheap candidate trained on a part of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from polymodal.best.candidates import Candidate
from polymodal.best.ground import Check, Ground
from polymodal.best.records import Record
from polymodal.core import Estimate, numpy_rng
from polymodal.data.split import Split
from polymodal.methods import build, find_method
from polymodal.methods.ensemble import mixed
from polymodal.score import Comparison, compare_tables
from polymodal.train.checkpoint import load_weights

SHARES = (0.25, 0.5)
"""Of the groups to learn from; all of them are known."""

GOOD = 1.05
"""Losses up to that many times the best are good enough for the curve, so that it costs little."""

SLACK = 1.2
"""Factor on the time that the curve is thought to take."""


@dataclass(frozen=True)
class Curve:
    """A learning curve.

    Attributes:
        name: of the candidate.
        points: share of the groups -> main metric out of fold.
        gain: of all groups over half of them.
    """

    name: str
    points: dict[str, Estimate]
    gain: Comparison


def cheapest(records: Sequence[Record]) -> Record:
    """Return the candidate that costs least among those nearly as good as the best; all of ``records`` are done."""
    best = min(r.loss for r in records if r.loss is not None)
    return min((r for r in records if r.loss is not None and r.loss <= GOOD * best), key=lambda r: r.seconds)


def expected(record: Record) -> float:
    """Return the seconds that the curve of a candidate would take."""
    return SLACK * sum(SHARES) * record.seconds


def curve(ground: Ground, candidate: Candidate, check: Check) -> Curve:
    """Return how good ``candidate`` becomes with a part of the groups to learn from; validation and test stay whole.

    Raises:
        OutOfTime: as ``check``.
    """
    said = {share: _answers(ground, candidate, share, check) for share in SHARES}
    whole = ground.answers(candidate).said
    ones = torch.ones(1, len(ground.dealt.pooled))
    by_share = {
        share: {t.name: mixed(t, found[t.name][None], ones) for t in ground.targets}
        for share, found in {**said, 1.0: whole}.items()
    }
    tables = {share: [ground.measures(found)] for share, found in by_share.items()}
    gain = compare_tables(tables[1.0], tables[SHARES[-1]], ground.targets[0].spec.main, ground.blocks)
    return Curve(str(candidate), {f"{share:g}": ground.figure(found) for share, found in by_share.items()}, gain)


def _answers(ground: Ground, candidate: Candidate, share: float, check: Check) -> dict[str, Tensor]:
    options, recipe = candidate.settled(ground.schema)
    found: dict[str, Tensor] = {}
    for fold in ground.folds:
        corpus = ground.part(fold, candidate.modalities)
        fewer = replace(corpus, splits={**corpus.splits, "train": _part(corpus["train"], share, ground.seed)})
        with TemporaryDirectory(dir=ground.folder) as place:
            ground.trained(fewer, candidate.method, options, recipe, Path(place), check)
            method = build(find_method(candidate.method), fewer.schema, options)
            load_weights(method, Path(place) / "best.safetensors")
        for name, values in ground.answers_of(method, fewer, recipe).items():
            found.setdefault(name, values.new_zeros(len(ground.dealt.pooled), *values.shape[1:]))
            found[name][ground.rows(fold)] = values
    return found


def _part(split: Split, share: float, seed: int) -> Split:
    """Return the samples of a share of the groups of ``split``, the smaller share within the larger."""
    names = np.asarray(list(split.groups) or list(split.ids))
    groups = numpy_rng("curve", seed).permutation(np.unique(names))
    return split.view(np.flatnonzero(np.isin(names, groups[: max(2, round(share * len(groups)))])))
