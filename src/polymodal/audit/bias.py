"""Bias: kinds of samples that are got wrong more often than others of their class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from polymodal.audit._asked import Asked, Known, ask, difference, rate
from polymodal.audit._grounding import grounded
from polymodal.audit._naming import Hints, hints_of, traits_of
from polymodal.audit._slices import Axes, Mixture
from polymodal.audit.base import Evidence, Findings, Judge, Panel, mean_over_groups
from polymodal.core import Batch, DataError, OptionError, Target, derive_seed
from polymodal.data.ragged import Array
from polymodal.score.intervals import FEW, Blocks, jackknife, student

MASKED, AXES, SLICES = 0.7, 16, 12
"""Share of channels masked, principal axes, and slices at most."""

SAMPLES, TESTED, FEWEST = 25, 5, 10
"""Samples for each slice, slices that are checked, and their members at least in either half."""

MASKS = (
    "Features are masked to what the model named a class by: a slice may be little more than those that it reads as "
    "another class."
)

ERROR = 0.05
"""Chance of a slice being found where there is none, over all that are checked."""


class Bias:
    """Slices of samples with too many errors (ViG-Bias; Marani et al., ECCV 2024, arXiv 2407.01996; DOMINO, 2022).

    Samples are masked to what the model named their class by (GradCAM; the lower 70 % of channels are left out),
    clustered together with class and answer by an error-aware mixture, and slices ranked by how much more often they
    are got wrong than the rest of their class. That is done on one half of the groups. The other half decides: its
    samples are dealt to slices by features and class, and a slice is *found* if there, too, more are wrong, by more
    than chance in any of the slices that are checked (Holm, 5 %). Masks hint at the class that was named, so that a
    slice may be little more than what the model reads as another class; a limit says so. Slices are named by what sets
    their members apart: values of columns, words, channels. The table of samples says who has the clearest trait of the
    worst slice; training can take equally many with and without it of each class
    (``SOURCE?about=RUN/audit/bias.parquet``, ``domain=trait``, ``balance=cell``).

    Departures: vectors are a sample's own features, means over time, not a shared space of pictures and texts, and
    channels are masked instead of pixels (masking steps brought planted shortcuts out less); names are values, words
    and channels of the data instead of captions; re-weighting instead of group DRO. Without gradients by
    features (a run of folds, pixels alone, another judge) nothing is masked.

    Args:
        known: columns, for names.
    """

    reads_columns = True

    def __init__(self, known: Known) -> None:
        self.known = known

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Find, name and check slices; OptionError where there are no classes, DataError where samples are too few."""
        target = judge.schema.joint_targets[0]
        if target.spec.answer != "class":
            raise OptionError(
                f"bias asks which samples are put into the wrong class, and {target.name!r} is a {target.task}; "
                "audit a run with one class per sample"
            )
        asked = ask(judge, target, batches)
        vectors = _vectors(judge, target, batches, asked)
        hints = hints_of(judge.schema, batches, target.name, asked, self.known)
        slices = sliced(vectors, asked, hints, target)
        wrong = (asked.said.argmax(1) != asked.true).astype(float)
        evidence = [mean_over_groups("share wrong", wrong, asked.groups)]
        evidence += [s.evidence for s in slices]
        sure = [s for s in slices if s.found]
        homes = [next((s.name for s in sure if s.members[i]), "") for i in range(len(asked.ids))]
        trait, who = next(((n, w) for s in sure for n, w in s.traits.items()), ("", np.zeros(len(asked.ids), bool)))
        found = [f"Slice {s.number}, {s.name}: {_more(s.evidence)}." for s in sure]
        return Findings(
            "Slices with too many errors",
            "Kinds of samples that are got wrong more often than the rest of their class, found on one half of the "
            "groups and checked on the other (ViG-Bias; Marani et al., ECCV 2024).",
            evidence,
            {"id": asked.ids, "wrong": wrong.tolist(), "slice": homes}
            | {"trait": [(trait if w else f"not {trait}") if trait else "" for w in who]},
            [] if vectors is not asked.inputs else ["Nothing was masked: there are no gradients by features."],
            asked="Are there kinds of samples that are got wrong more often than others of their class?",
            found=found or ["No slice holds more errors than the rest of its class by more than chance."],
            limits=[
                "Hard is not biased: samples that resemble another class are such a kind, too.",
                "What is no cluster of features is not found, nor a slice that is rare among few samples; a name says "
                "what members have in common, not why they are got wrong.",
                *([] if vectors is asked.inputs else [MASKS]),
            ],
        )


@dataclass(frozen=True)
class Slice:
    """A slice that was checked.

    Attributes:
        number: from 1, the worst one first, in the half where it was found.
        label: class number.
        name: its class and what sets its members apart.
        traits: what does, and ``(samples,)`` bool who has it, members or not.
        members: ``(samples,)`` bool, of both halves.
        evidence: how much more often members of the other half are wrong than the rest of the class.
        found: whether that is more than chance.
    """

    number: int
    label: int
    name: str
    traits: dict[str, Array]
    members: Array
    evidence: Evidence
    found: bool


def sliced(vectors: Array, asked: Asked, hints: Hints, target: Target) -> list[Slice]:
    """Return the slices that were checked, worst first; DataError where samples or groups are too few for any."""
    wrong, y = (asked.said.argmax(1) != asked.true).astype(float), asked.true.astype(int)
    names = sorted(np.unique(asked.groups).tolist(), key=lambda g: derive_seed(0, "checked", str(g)))
    if len(names) < 2 * FEW:
        raise DataError(
            f"{len(names)} groups (speakers, videos) are too few to find slices in one half and check them "
            f"in the other; ask about a split with at least {2 * FEW}, or a run of folds"
        )
    checked = np.isin(asked.groups, names[len(names) // 2 :])
    rows = np.flatnonzero(~checked)
    if min(len(rows), int(checked.sum())) < 2 * SAMPLES:
        raise DataError(
            f"{len(y)} labelled samples are too few to find slices in one half and check them in the other; ask about "
            f"a split with at least {4 * SAMPLES}"
        )
    axes = Axes.of(vectors[rows], AXES)
    slices = max(2, min(SLICES, len(rows) // SAMPLES))
    mixture = Mixture.fit(axes(vectors[rows]), y[rows], asked.said[rows], slices)
    home = mixture.shares(axes(vectors), y).argmax(1)
    candidates = []
    for s in range(slices):
        for label in np.unique(y):
            members, of_class = (home == s) & (y == label), y == label
            sizes = [min((members & half).sum(), (of_class & ~members & half).sum()) for half in (~checked, checked)]
            if min(sizes) >= FEWEST:
                inside, outside = members & ~checked, of_class & ~members & ~checked
                candidates.append((wrong[inside].mean() - wrong[outside].mean(), int(label), members))
    worst = sorted((c for c in candidates if c[0] > 0), key=lambda c: -c[0])[:TESTED]
    tests = [_tested(wrong, m & checked, (y == label) & ~m & checked, asked.groups, checked) for _, label, m in worst]
    found = holm([p for *_, p in tests])
    out = []
    for number, ((_, label, members), (value, low, high, groups, _), sure) in enumerate(
        zip(worst, tests, found, strict=True), start=1
    ):
        traits = traits_of(hints, members & ~checked, (y == label) & ~members & ~checked)
        name = ", ".join([target.classes[label], *traits])
        line = Evidence(
            f"slice {number} ({name}): share wrong beyond its class",
            value,
            int((members & checked).sum()),
            groups,
            low,
            high,
            "slices",
        )
        out.append(Slice(number, label, name, traits, members, line, sure and value > 0))
    return out


def _tested(
    wrong: Array, inside: Array, outside: Array, groups: Array, checked: Array
) -> tuple[float, float | None, float | None, int, float]:
    """Return the difference of two shares among ``checked``, its interval, its groups and the p value of "it is 0"."""
    blocks = Blocks.of(int(checked.sum()), groups[checked])
    gap = difference(rate(wrong[checked], inside[checked]), rate(wrong[checked], outside[checked]))
    value = float(gap(np.ones((1, len(blocks.member))))[0])
    if blocks.groups < FEW:
        return value, None, None, blocks.groups, 1.0
    low, high, p = student(value, [jackknife(gap, blocks)], 1 - ERROR)
    return value, max(low, -1.0), min(high, 1.0), blocks.groups, p  # a difference of shares


def holm(p: list[float]) -> list[bool]:
    """Return which hypotheses fall, so that none that holds does in 1 - ``ERROR`` of all cases (Holm, 1979)."""
    found, falling = [False] * len(p), True
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        falling = falling and p[i] <= ERROR / (len(p) - rank)
        found[i] = falling
    return found


def _vectors(judge: Judge, target: Target, batches: Callable[[], Iterable[Batch]], asked: Asked) -> Array:
    """Return what samples are clustered by: what their class was told by, or all that they hold."""
    if asked.inputs is None:
        raise OptionError("bias clusters features, and this run reads raw text alone; fit it with --encode text=...")
    features = any(m.kind in ("sequence", "vector") for m in judge.schema.modalities)
    if not isinstance(judge, Panel) or judge.normalizers or not features:
        return asked.inputs
    parts = []
    for whole in batches():
        batch = whole.select(whole.labelled(target.name))
        if len(batch):
            parts.append(np.mean([grounded(m, batch, target.name, MASKED) for m in judge.methods], axis=0))
    return np.concatenate(parts)


def _more(line: Evidence) -> str:
    return f"{line.value:+.3f} wrong beyond its class on the other half ({line.low:+.3f} to {line.high:+.3f})"


AUDIT = Bias
