"""What a column of labels is: numbers on a scale, or names of classes."""

from __future__ import annotations

import math

from polymodal.core import DataError, Target
from polymodal.media.folder.table import Table

MISSING = ("", "nan", "na", "n/a", "null", "none", "?")
SCALE = 10
"""Whole numbers with more different values than this are a scale, not classes."""


def read_target(
    table: Table, column: str, bounds: tuple[float, float] | None
) -> tuple[Target, tuple[float, ...] | tuple[int, ...]]:
    """Return the target that ``column`` holds and the label of each row (a class number where there are classes).

    Numbers are a regression when ``bounds`` are given, when one is not whole, or when there are more than ``SCALE``
    different ones; its range is ``bounds``, else the observed one, rounded outward to whole numbers.

    Raises:
        DataError: a missing label or one outside ``bounds``, with its line; only one value in the whole column.
    """
    cells = [row[column] for row in table.rows]
    for i, cell in enumerate(cells):
        if cell.lower() in MISSING:
            raise DataError(f"{table.where(i)} has no {column} ({cell!r}); give the row a label or remove it")
    if len(set(cells)) < 2:
        raise DataError(f"{table.path}: every {column} is {cells[0]!r}, there is nothing to learn; check the column")
    values = [_number(cell) for cell in cells]
    numbers = [v for v in values if v is not None]
    if not numbers:
        return _classes(table, column, cells, sorted(set(cells)))
    if len(numbers) < len(cells):
        odd = values.index(None)
        raise DataError(
            f"{table.where(odd)}: {column} is {cells[odd]!r} where other rows have numbers; mend it, or choose another "
            "column with --target"
        )
    if bounds is None and all(v.is_integer() for v in numbers) and len(set(numbers)) <= SCALE:
        return _classes(table, column, [f"{v:.0f}" for v in numbers], [f"{v:.0f}" for v in sorted(set(numbers))])
    low, high = bounds or (float(math.floor(min(numbers))), float(math.ceil(max(numbers))))
    for i, value in enumerate(numbers):
        if not low <= value <= high:
            raise DataError(f"{table.where(i)}: {column} is {value:g}, outside --range {low:g},{high:g}")
    return Target(column, "regression", range=(low, high)), tuple(numbers)


def _classes(table: Table, column: str, cells: list[str], names: list[str]) -> tuple[Target, tuple[int, ...]]:
    if len(names) > max(SCALE, len(cells) // 2):
        raise DataError(
            f"{table.path}: {column} has {len(names)} different values in {len(cells)} rows, too many for classes; "
            "choose another column with --target"
        )
    index = {name: i for i, name in enumerate(names)}
    return Target(column, "classification", classes=tuple(names)), tuple(index[c] for c in cells)


def _number(cell: str) -> float | None:
    """Return the finite number in ``cell``; None where there is none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
