"""What single raters said of the samples of a split, beside the label that they make together.

Ratings are target -> rater -> ``(rows,)`` float32: numbers, or class numbers, NaN where the rater did not rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from polymodal.core import DataError, Schema, Target, nearest
from polymodal.core.estimate import plain
from polymodal.data.ragged import Array
from polymodal.score.agreement import agreement
from polymodal.score.raters import can_be_rated, consensus, one_rater

Ratings = dict[str, dict[str, Array]]


class Rated(Protocol):
    """What is needed of a split."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the samples."""

    @property
    def groups(self) -> Sequence[str]:
        """Group of each sample, or nothing."""

    @property
    def ratings(self) -> Ratings:
        """What raters said."""


def checked(schema: Schema, ratings: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> Ratings:
    """Return ``ratings`` as the module describes them.

    Args:
        ratings: target -> rater -> one label per sample, as labels of the target are, NaN or None where not rated.

    Raises:
        DataError: an unknown target, or one without a mean or majority; a label that cannot be, with rater and sample.
    """
    found: Ratings = {}
    for name, by_rater in ratings.items():
        target = schema.target(name)
        if not can_be_rated(target):
            raise DataError(
                f"target {name!r} is a {target.task}, and ratings are kept of numbers and of single classes; give its "
                "labels only"
            )
        if not by_rater:
            raise DataError(f"target {name!r} has ratings of nobody; leave them out")
        found[name] = {rater: _column(target, rater, values, ids) for rater, values in by_rater.items()}
    return found


def _column(target: Target, rater: str, values: Any, ids: Sequence[str]) -> Array:
    try:
        labels = target.spec.labels(values, ids)
    except DataError as error:
        raise DataError(f"rater {rater!r}: {error}") from None
    return np.where(target.spec.known(labels), labels, np.nan).astype(np.float32)


def unless_equal(before: Ratings, after: Ratings) -> Ratings:
    """Return ``before`` itself where ``after`` says the same in the same type."""
    alike = all(
        values.dtype == before[name][rater].dtype and np.array_equal(values, before[name][rater], equal_nan=True)
        for name, by_rater in after.items()
        for rater, values in by_rater.items()
    )
    return before if alike else after


def labels_of(schema: Schema, targets: Mapping[str, Any], ratings: Ratings) -> dict[str, Any]:
    """Return the labels of every target: as given in ``targets``, else what its raters say together.

    Raises:
        DataError: a target with neither.
    """
    for target in schema.targets:
        if target.name not in targets and target.name not in ratings:
            given = [*targets, *ratings]
            raise DataError(f"target {target.name!r} has neither labels nor ratings{nearest(target.name, given)}")
    return {
        t.name: targets[t.name] if t.name in targets else consensus(t, matrix(ratings[t.name])) for t in schema.targets
    }


def matrix(by_rater: Mapping[str, Array]) -> Array:
    """Return the ratings of one target as ``(rows, raters)`` float64."""
    return np.stack([values.astype(np.float64) for values in by_rater.values()], axis=1)


def selected(ratings: Ratings, rows: Sequence[int]) -> Ratings:
    """Return the ratings of ``rows``."""
    return {name: {r: values[rows] for r, values in by_rater.items()} for name, by_rater in ratings.items()}


def joined(parts: Sequence[tuple[Ratings, int]]) -> Ratings:
    """Return the ratings of several parts one after another; a rater whom a part does not know rated nothing there.

    Args:
        parts: the ratings of each, and its number of rows.
    """
    names = dict.fromkeys(name for part, _ in parts for name in part)
    raters = {name: dict.fromkeys(r for part, _ in parts for r in part.get(name, {})) for name in names}
    return {
        name: {
            r: np.concatenate([part.get(name, {}).get(r, np.full(rows, np.nan, np.float32)) for part, rows in parts])
            for r in known
        }
        for name, known in raters.items()
    }


def agreement_rows(schema: Schema, split: Rated) -> list[dict[str, Any]]:
    """Return how far the raters of a split agree, as plain data for JSON; nothing where no ratings are kept.

    A row has ``target``, ``what`` (``agreement``, or ``one rater``: the target's own metrics of a rating held against
    the others), ``metric``, ``main``, ``raters``, and the fields of a ``core.Estimate``.
    """
    found = []
    for name, by_rater in split.ratings.items():
        target, ratings, groups = schema.target(name), matrix(by_rater), split.groups if len(split.groups) else None
        for what, figures in (
            ("agreement", agreement(target, ratings, groups)),
            ("one rater", one_rater(target, ratings, groups)),
        ):
            place = {"target": name, "what": what, "raters": len(by_rater)}
            found += [
                {
                    **place,
                    "metric": metric,
                    "main": what == "one rater" and metric == target.spec.main,
                    **plain(summary),
                }
                for metric, summary in figures.items()
            ]
    return found
