"""What columns of labels are: numbers on a scale, or names of classes, by one hand or by several raters.

``sentiment@anna`` and ``sentiment@ben`` are what Anna and Ben said of ``sentiment``. A column ``sentiment`` beside them
is the label; without it the label is what they say together (see ``score.raters.consensus``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from polymodal.core import DataError, Target
from polymodal.core.errors import listed
from polymodal.data.tabular.table import LABELS, Table, plain
from polymodal.score.raters import consensus

SCALE = 10
"""Whole numbers with more different values than this are a scale, not classes."""


@dataclass(frozen=True)
class Labels:
    """One target of a table.

    Attributes:
        target: what is to be learned.
        values: per row a number, or a class number; NaN where raters have no majority.
        ratings: rater -> the same per row, NaN where this rater said nothing.
    """

    target: Target
    values: tuple[float, ...]
    ratings: dict[str, tuple[float, ...]]

    @property
    def note(self) -> str:
        """How many rows have no label, if any."""
        undecided = sum(map(math.isnan, self.values))
        what = f"{undecided} of {len(self.values)} rows have no majority of raters"
        return f"{self.target.name}: {what}, so their label is not known" if undecided else ""


def target_names(table: Table) -> tuple[str, ...]:
    """Return what can be learned from ``table``: its columns, and what only columns of raters are about."""
    known = {plain(c) for c in table.columns}
    rated = {plain(name): name for name, rater in map(_rating, reversed(table.columns)) if rater}
    return (*table.columns, *(name for short, name in rated.items() if short not in known))


def find_target(table: Table, name: str) -> str:
    """Return the one of ``target_names`` that is called ``name``, in the way of ``Table.column``."""
    return replace(table, columns=target_names(table)).column(name)


def usual_target(table: Table, taken: Collection[str]) -> str:
    """Return the first of ``target_names`` with a usual name that is not ``taken``; DataError where there is none."""
    by_name = {plain(c): c for c in target_names(table) if c not in taken}
    for name in LABELS:
        if name in by_name:
            return by_name[name]
    raise DataError(
        f"{table.path}: no column is called {', '.join(LABELS[:-1])} or {LABELS[-1]}; say what to predict with "
        f"{table.words.target} (available: {listed(table.columns)})"
    )


def read_target(table: Table, name: str, bounds: tuple[float, float] | None, unlabelled: bool = False) -> Labels:
    """Return the target ``name`` of ``target_names``, with the labels and ratings of each row.

    Numbers are a regression when ``bounds`` are given, when one is not whole, or when there are more than ``SCALE``
    different ones; its range is ``bounds``, else the observed one, rounded outward to whole numbers. Numbers that the
    table declares to be names of classes are a regression only when ``bounds`` are given.

    Args:
        unlabelled: rows may be without a label.

    Raises:
        DataError: a missing label, a row that nobody rated, or a label outside ``bounds``, with its line; only one
            value in the whole column.
    """
    raters = _raters(table, name)
    columns = [name] if name in table.columns else []
    if not unlabelled:
        _check_given(table, name, columns or list(raters.values()))
    every = (*columns, *raters.values())
    told = [(i, c, row[c]) for i, row in enumerate(table.rows) for c in every if table.given(row, c)]
    seen = {cell for _, column, cell in told if column in (columns or raters.values())}
    if len(seen) < 2:
        found = f"is {str(seen.pop())[:60]!r}" if seen else "is missing"
        raise DataError(f"{table.path}: every {name} {found}, there is nothing to learn; check the column")
    target, codes = _target(table, name, told, bounds)

    def values(column: str) -> tuple[float, ...]:
        return tuple(codes[row[column]] if table.given(row, column) else math.nan for row in table.rows)

    ratings = {rater: values(column) for rater, column in raters.items()}
    if columns:
        return Labels(target, values(name), ratings)
    together = consensus(target, np.array(list(ratings.values()), dtype=float).T)
    return Labels(target, tuple(together.tolist()), ratings)


def _rating(column: str) -> tuple[str, str]:
    """Return target and rater of a column ``target@rater``; no rater where it is none."""
    name, _, rater = (part.strip() for part in column.partition("@"))
    return (name, rater) if name else (column, "")


def _raters(table: Table, name: str) -> dict[str, str]:
    """Return rater -> column of those who rated the target ``name``."""
    found: dict[str, str] = {}
    for column in table.columns:
        about, rater = _rating(column)
        if not rater or plain(about) != plain(name) or column == name:
            continue
        if rater in found:
            raise DataError(
                f"{table.path}: columns {found[rater]!r} and {column!r} are of one rater; rename one of them"
            )
        found[rater] = column
    return found


def _check_given(table: Table, name: str, columns: Sequence[str]) -> None:
    """Raise DataError for the first row that has nothing in any of ``columns``."""
    for i, row in enumerate(table.rows):
        if not any(table.given(row, column) for column in columns):
            found = f"{name} ({row[name]!r}); give the row a label" if name in row else f"rating of {name}; give it one"
            raise DataError(f"{table.where(i)} has no {found} or remove it")


def _target(
    table: Table, name: str, told: Sequence[tuple[int, str, str]], bounds: tuple[float, float] | None
) -> tuple[Target, dict[str, float]]:
    """Return the target, and what each cell means: a number, or a class number.

    Args:
        told: row, column and content of every cell that says something.
    """
    cells = dict.fromkeys(cell for _, _, cell in told)
    values = {cell: _number(cell) for cell in cells}
    numbers = {cell: value for cell, value in values.items() if value is not None}
    declared = any(column in table.declared for _, column, _ in told)
    if not numbers or (declared and (bounds is None or len(numbers) < len(cells))):
        names = sorted(cells, key=lambda cell: (numbers.get(cell, math.inf), cell))
        return _classes(table, name, {cell: cell for cell in cells}, names)
    for i, column, cell in told:
        if cell not in numbers:
            raise DataError(
                f"{table.where(i)}: {column} is {cell[:60]!r} where other rows have numbers; mend it, or choose "
                f"another column with {table.words.target}"
            )
    different = sorted(set(numbers.values()))
    if bounds is None and all(v.is_integer() for v in different) and len(different) <= SCALE:
        # What is added makes -0 a 0.
        names = [f"{v + 0.0:.0f}" for v in different]
        return _classes(table, name, {c: f"{v + 0.0:.0f}" for c, v in numbers.items()}, names)
    low, high = bounds or (float(math.floor(different[0])), float(math.ceil(different[-1])))
    for i, column, cell in told:
        if not low <= numbers[cell] <= high:
            raise DataError(
                f"{table.where(i)}: {column} is {numbers[cell]:g}, outside {table.words.bounds}{low:g},{high:g}"
            )
    return Target(name, "regression", range=(low, high)), numbers


def _classes(table: Table, name: str, called: dict[str, str], names: Sequence[str]) -> tuple[Target, dict[str, float]]:
    """Return a target whose classes are ``names``; cells are ``called`` one of them."""
    if name not in table.declared and len(names) > max(SCALE, len(table.rows) // 2):
        raise DataError(
            f"{table.path}: {name} has {len(names)} different values in {len(table.rows)} rows, too many for classes; "
            f"choose another column with {table.words.target}"
        )
    index = {name: i for i, name in enumerate(names)}
    return Target(name, "classification", classes=tuple(names)), {cell: index[of] for cell, of in called.items()}


def _number(cell: str) -> float | None:
    """Return the finite number in ``cell``; None where there is none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
