"""What an entry predicted on a corpus, and the measures that follow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polymodal.bench.board import Figure
from polymodal.bench.figures import area_key
from polymodal.bench.plan import Conditions
from polymodal.core import Estimate, Schema, Target
from polymodal.core.conditions import AREA, COMPLETE
from polymodal.score import Blocks, Robustness, robustness, summarise_tables, tables_by_seed
from polymodal.train.figures import Tables, areas_of
from polymodal.train.predictions import FILE, Columns, column, read_table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Results:
    """An entry on a corpus.

    Attributes:
        name: of the entry.
        schema: of the corpus.
        said: seed -> condition -> ``id``, ``true``, ``predicted`` and, where there are some, ``probability`` and
            ``group``, in an order that does not depend on the entry.
        tables: condition -> measures.
        blocks: test samples dealt by their groups.
    """

    name: str
    schema: Schema
    said: Mapping[int, Mapping[str, Columns]]
    tables: dict[str, Tables]
    blocks: Blocks

    @classmethod
    def of(cls, name: str, schema: Schema, said: Mapping[int, Mapping[str, Columns]]) -> Results:
        """Return the results that follow from predictions; all seeds have the same conditions."""
        target, tables = schema.joint_targets[0], {}
        for condition in next(iter(said.values())):
            parts = [by_condition[condition] for by_condition in said.values()]
            shares = [p["probability"] for p in parts] if "probability" in parts[0] else None
            tables[condition] = tables_by_seed(target, parts[0]["true"], [p["predicted"] for p in parts], shares)
        whole = next(iter(said.values()))[COMPLETE]
        return cls(name, schema, said, tables, Blocks.of(len(whole["true"]), whole.get("group")))

    @property
    def target(self) -> Target:
        """What is scored."""
        return self.schema.joint_targets[0]

    @property
    def whole(self) -> Columns:
        """Predictions of the first seed on complete input."""
        return next(iter(self.said.values()))[COMPLETE]

    def curves(self, tests: Conditions) -> dict[str, Tables]:
        """Return the area under each curve that has one: series -> measures per seed."""
        found = areas_of(tests.of(self.schema), self.tables, len(self.schema.names))
        return {series: tables for (_, series, _), tables in found}

    def stood(self) -> Robustness:
        """Return what incomplete and noisy input costs."""
        return robustness(self.target, self.tables, self.schema.names, self.whole["true"], self.blocks)

    def figures(self, corpus: str, tests: Conditions) -> list[Figure]:
        """Return every figure of every condition and area."""
        found = []
        for point in tests.of(self.schema):
            if point.text in self.tables:
                found += self._figures(corpus, self.tables[point.text], (point.text, point.series, point.value))
        for series, areas in self.curves(tests).items():
            found += self._figures(corpus, areas, (AREA, series, math.nan))
        return found

    def _figures(self, corpus: str, tables: Tables, place: tuple[str, str, float]) -> list[Figure]:
        main, better = self.target.spec.main, self.target.spec.metrics
        condition, series, value = place
        return [
            Figure(
                entry=self.name,
                corpus=corpus,
                condition=condition,
                series=series,
                value=value,
                metric=metric,
                higher_is_better=better[metric],
                main=metric == main,
                **{f.name: getattr(summary, f.name) for f in fields(Estimate)},
            )
            for metric, summary in summarise_tables(tables, self.blocks).items()
        ]


def headlines(found: Sequence[Results], tests: Conditions) -> tuple[str, list[Tables]]:
    """Return what entries are ordered by, the area under the first curve that all have or complete input, and the
    measures of each in it."""
    areas = [r.curves(tests) for r in found]
    series = next((s for s in areas[0] if all(s in a for a in areas)), None) if found else None
    if series is None:
        return COMPLETE, [r.tables[COMPLETE] for r in found]
    return area_key(series), [a[series] for a in areas]


def by_condition(table: pa.Table, target: Target) -> dict[str, Columns]:
    """Return condition -> ``id``, ``true``, ``predicted`` and what else there is of one seed's predictions, by id."""
    names = {part: f"{target.name}/{part}" for part in ("true", "predicted", "probability")}
    names |= {"id": "id", "group": "group"}
    values = {part: column(table, name) for part, name in names.items() if name in table.column_names}
    conditions, order = column(table, "condition"), np.argsort(values["id"], kind="stable")
    found = {}
    for condition in dict.fromkeys(conditions.tolist()):
        rows = order[conditions[order] == condition]
        found[condition] = {part: v[rows] for part, v in values.items()}
    return found


def pooled(folders: Iterable[Path], target: Target, conditions: Iterable[str]) -> dict[str, Columns]:
    """Return condition -> columns of one seed, the test samples of several folds one after another."""
    remedy = "remove its folder and run the benchmark again"
    parts = [by_condition(read_table(folder / FILE, remedy), target) for folder in folders]
    return {
        name: {part: np.concatenate([found[name][part] for found in parts]) for part in parts[0][name]}
        for name in conditions
    }
