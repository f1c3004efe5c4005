"""From what every seed predicts of a split, condition by condition, to the figures of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polymodal.core import Measure, Schema, Target
from polymodal.core.conditions import AREA, COMPLETE
from polymodal.core.estimate import ScoreRow
from polymodal.score import Blocks, Robustness, area_measures, robustness, summarise_tables, tables_by_seed
from polymodal.stress import Point, curve_places
from polymodal.train.predictions import Columns

Tables = list[dict[str, Measure]]
"""Measures of one condition, one table per seed."""

Place = tuple[str, str, float]
"""Condition, series and value, as in ``ScoreRow``."""


def figures_of(
    split: str, schema: Schema, points: Sequence[Point], predicted: Mapping[str, Sequence[Columns]]
) -> tuple[list[ScoreRow], list[Robustness]]:
    """Return the rows of one split, and what its conditions cost each joint target.

    Args:
        split: its name.
        points: the conditions.
        predicted: condition -> columns of each seed, the samples of all in the same order.
    """
    whole = predicted[COMPLETE][0]
    blocks = Blocks.of(len(whole["id"]), whole.get("group"))
    rows, costs = [], []
    for target in schema.joint_targets:
        true = whole[f"{target.name}/true"]
        tables = {point.text: _measures(target, predicted[point.text]) for point in points}
        places: list[tuple[Place, Tables]] = [((p.text, p.series, p.value), tables[p.text]) for p in points]
        for place, found in [*places, *areas_of(points, tables, len(schema.names))]:
            rows += _rows(target, split, place, found, blocks, true)
        if len(points) > 1:
            costs.append(robustness(target, tables, schema.names, true, blocks))
    return rows, costs


def _measures(target: Target, by_seed: Sequence[Columns]) -> Tables:
    key = f"{target.name}/probability"
    return tables_by_seed(
        target,
        by_seed[0][f"{target.name}/true"],
        np.stack([c[f"{target.name}/predicted"] for c in by_seed]),
        np.stack([c[key] for c in by_seed]) if key in by_seed[0] else None,
    )


def areas_of(points: Sequence[Point], tables: Mapping[str, Tables], modalities: int) -> list[tuple[Place, Tables]]:
    """Return the area under each curve that has one, measures per seed.

    Args:
        points: of all conditions; those without a table are left out.
        tables: condition -> measures per seed.
        modalities: of the corpus.
    """
    points = [point for point in points if point.text in tables]
    found: list[tuple[Place, Tables]] = []
    for series in dict.fromkeys(point.series for point in points if point.series):
        curve = [point for point in points if point.series == series]
        at = curve_places(series, [point.value for point in curve], modalities)
        if at is not None:
            names = [COMPLETE] * (len(at) - len(curve)) + [point.text for point in curve]
            seeds = range(len(tables[COMPLETE]))
            areas = [area_measures(at, [tables[name][seed] for name in names]) for seed in seeds]
            found.append(((AREA, series, math.nan), areas))
    return found


def _rows(
    target: Target, split: str, place: Place, tables: Tables, blocks: Blocks, true: np.ndarray[Any, Any]
) -> list[ScoreRow]:
    spec, (condition, series, value) = target.spec, place
    chance = spec.chance(true)
    return [
        ScoreRow(
            **vars(estimate),
            split=split,
            condition=condition,
            series=series,
            value=value,
            target=target.name,
            metric=metric,
            higher_is_better=spec.metrics[metric],
            main=metric == spec.main,
            chance=chance.get(metric, math.nan),
        )
        for metric, estimate in summarise_tables(tables, blocks).items()
    ]
