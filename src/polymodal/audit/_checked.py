"""Slices that are found on one half of the groups and checked on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polymodal.audit._asked import Asked, difference, rate
from polymodal.audit._naming import Hints, traits_of
from polymodal.audit._reader import Reader
from polymodal.audit._slices import Axes, Mixture
from polymodal.audit.base import Evidence
from polymodal.core import DataError, Target, derive_seed
from polymodal.data.ragged import Array
from polymodal.score import holm
from polymodal.score.intervals import FEW, Blocks, jackknife, student

AXES, READ, SLICES = 16, 32, 12
"""Principal axes for slices and for the plain classifier, and slices at most."""

SAMPLES, TESTED, FEWEST = 25, 5, 10
"""Samples for each slice, slices that are checked, and their members at least in either half."""

OWN = 0.5
"""Share of a slice's errors beyond its class that a plain classifier must not share."""

ERROR = 0.05
"""Chance of a slice being found where there is none, over all that are checked."""


@dataclass(frozen=True)
class Slice:
    """A slice that was checked.

    Attributes:
        number: from 1, the worst one first, in the half where it was found.
        label: class number.
        name: its class and what sets its members apart.
        traits: what does, and ``(samples,)`` bool who has it, members or not.
        members: ``(samples,)`` bool, of both halves.
        beyond_class: how much more often members of the other half are wrong than the rest of the class.
        beyond_plain: how much of that a plain classifier does not share.
        found: whether both are more than chance, and the second more than half of the first.
        hard: whether the first is, but not both.
    """

    number: int
    label: int
    name: str
    traits: dict[str, Array]
    members: Array
    beyond_class: Evidence
    beyond_plain: Evidence
    found: bool
    hard: bool


def halves(asked: Asked) -> Array:
    """Return whose groups are for checking, ``(samples,)`` bool; DataError where samples or groups are too few."""
    names = sorted(np.unique(asked.groups).tolist(), key=lambda g: derive_seed(0, "checked", str(g)))
    if len(names) < 2 * FEW:
        raise DataError(
            f"{len(names)} groups (speakers, videos) are too few to find slices in one half and check them "
            f"in the other; ask about a split with at least {2 * FEW}, or a run of folds"
        )
    checked: Array = np.isin(asked.groups, names[len(names) // 2 :])
    if min(int((~checked).sum()), int(checked.sum())) < 2 * SAMPLES:
        raise DataError(
            f"{len(checked)} labelled samples are too few to find slices in one half and check them in the other; ask "
            f"about a split with at least {4 * SAMPLES}"
        )
    return checked


def sliced(vectors: Array, inputs: Array, asked: Asked, checked: Array, hints: Hints, target: Target) -> list[Slice]:
    """Return the slices that were checked, worst first.

    Args:
        vectors: ``(samples, width)``, what samples are clustered by; nothing in it may follow from what was said of
            the sample.
        inputs: ``(samples, width)``, all that they hold, for the plain classifier.
        asked: labels and answers.
        checked: as ``halves`` returns it.
        hints: for names.
        target: of the labels.
    """
    wrong, y = (asked.said.argmax(1) != asked.true).astype(float), asked.true.astype(int)
    beyond = wrong - _plainly_wrong(inputs, y, asked.groups)
    rows = np.flatnonzero(~checked)
    axes = Axes.of(vectors[rows], AXES)
    slices = max(2, min(SLICES, len(rows) // SAMPLES))
    home = Mixture.fit(axes(vectors[rows]), y[rows], asked.said[rows], slices).shares(axes(vectors), y).argmax(1)
    candidates = []
    for s in range(slices):
        for label in np.unique(y):
            inside, outside = (home == s) & (y == label), (home != s) & (y == label)
            if min((part & half).sum() for part in (inside, outside) for half in (~checked, checked)) >= FEWEST:
                worse = wrong[inside & ~checked].mean() - wrong[outside & ~checked].mean()
                candidates.append((worse, int(label), inside, outside))
    worst = sorted((c for c in candidates if c[0] > 0), key=lambda c: -c[0])[:TESTED]
    tests = [[_Test.of(v, i & checked, o & checked, asked.groups, checked) for v in (wrong, beyond)]
             for *_, i, o in worst]  # fmt: skip
    more = [p < ERROR for p in holm([by_class.p for by_class, _ in tests])]
    both = [p < ERROR for p in holm([max(t.p for t in pair) for pair in tests])]
    out = []
    for i, ((_, label, inside, outside), (by_class, by_plain)) in enumerate(zip(worst, tests, strict=True)):
        traits = traits_of(hints, inside & ~checked, outside & ~checked)
        name = ", ".join([target.classes[label], *traits])
        what, count = f"slice {i + 1} ({name}): share wrong beyond", int((inside & checked).sum())
        in_class = Evidence(f"{what} its class", by_class.value, count, by_class.groups, *by_class.ends, "slices")
        in_plain = Evidence(
            f"{what} a plain classifier's", by_plain.value, count, by_plain.groups, *by_plain.ends, PLAIN
        )
        # Any second classifier errs on somewhat other samples, so that a little beyond it is nothing.
        found = both[i] and by_plain.value > OWN * max(by_class.value, 0)
        hard = more[i] and by_class.value > 0 and not found
        out.append(Slice(i + 1, label, name, traits, inside, in_class, in_plain, found, hard))
    return out


PLAIN = "slices, what a plain classifier gets right"
"""Part of the second line of a slice."""


def _plainly_wrong(inputs: Array, labels: Array, groups: Array) -> Array:
    """Return where a plain classifier of ``inputs`` errs that learned from other groups, ``(samples,)`` 0 or 1."""
    known, y = np.unique(labels, return_inverse=True)
    if len(known) < 2:
        return np.zeros(len(y))
    vectors = Axes.of(inputs, READ)(inputs)
    return np.asarray(Reader([vectors], groups)(y).argmax(1) != y, float)


@dataclass(frozen=True)
class _Test:
    """A difference of two means, the ends of its interval, its groups and the p value of "it is 0"."""

    value: float
    ends: tuple[float | None, float | None]
    groups: int
    p: float

    @classmethod
    def of(cls, values: Array, inside: Array, outside: Array, groups: Array, checked: Array) -> _Test:
        """Compare ``values`` from -1 to 1 of those ``inside`` with those ``outside``, both among ``checked``."""
        blocks = Blocks.of(int(checked.sum()), groups[checked])
        gap = difference(rate(values[checked], inside[checked]), rate(values[checked], outside[checked]))
        value = float(gap(np.ones((1, len(blocks.member))))[0])
        if blocks.groups < FEW:
            return cls(value, (None, None), blocks.groups, 1.0)
        low, high, p = student(value, [jackknife(gap, blocks)], 1 - ERROR)
        most = 2.0 if values.min() < 0 else 1.0  # a difference of shares, or of differences
        return cls(value, (max(low, -most), min(high, most)), blocks.groups, p)
