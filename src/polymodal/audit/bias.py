"""Bias: kinds of samples that are got wrong more often than others of their class."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from polymodal.audit._asked import Known, ask
from polymodal.audit._checked import Slice, halves, sliced
from polymodal.audit._grounding import grounded, heat
from polymodal.audit._naming import hints_of
from polymodal.audit.base import Evidence, Findings, Judge, Panel, mean_over_groups
from polymodal.core import Batch, OptionError, Target
from polymodal.data.ragged import Array

MASKED = 0.7
"""Share of channels masked."""


class Bias:
    """Slices of samples with too many errors (ViG-Bias; Marani et al., ECCV 2024, arXiv 2407.01996; DOMINO, 2022).

    Samples are masked to the channels by which the model names classes (GradCAM; the lower 70 % are left out),
    clustered together with class and answer by an error-aware mixture, and slices ranked by how much more often they
    are got wrong than the rest of their class. That is done on one half of the groups; the other half decides.

    Why that is no circle. The mask is one for all samples, of the half where slices are looked for: a sample's own mask
    is that of the class that it is named, so that clusters of such masks are "read as another class", which is what an
    error is, and any check of them succeeds. And the other half is dealt to slices by features and class alone. What is
    left is that answers follow from features, so that the side of a class that faces another one holds its errors, also
    of the best classifier there can be. So a slice is *found* if more of the other half are wrong than in the rest of
    their class, and more than a plain classifier gets wrong there beyond the rest of the class (a linear one or a
    kernel ridge, whichever is better, of the same features, that learned from other groups). Both must be more than
    chance in any of the slices that are checked (the larger p value of the two, Holm, 5 %), and at least half of the
    first beyond the plain classifier: any second classifier errs on somewhat other samples. What is wrong beyond its
    class, but not beyond the plain classifier, is called *hard* and listed apart; so is a shortcut that the split that
    is asked about holds itself, for a plain classifier learns it there too.

    Slices are named by what sets their members apart: values of columns, words, channels. The table of samples says who
    has the clearest trait of the worst slice, found before hard; training can take equally many with and without it of
    each class (``SOURCE?about=RUN/audit/bias.parquet``, ``domain=trait``, ``balance=cell``).

    Departures: vectors are a sample's own features, means over time, not a shared space of pictures and texts, and
    channels are masked instead of pixels, the same for all samples; names are values, words and channels of the data
    instead of captions; re-weighting instead of group DRO; the plain classifier. Without gradients by features (a run
    of folds, pixels alone, another judge) nothing is masked.

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
        if asked.inputs is None:
            raise OptionError(
                "bias clusters features, and this run reads raw text alone; fit it with --encode text=..."
            )
        checked = halves(asked)
        vectors = _vectors(judge, target, batches, asked.inputs, checked)
        hints = hints_of(judge.schema, batches, target.name, asked, self.known)
        slices = sliced(vectors, asked.inputs, asked, checked, hints, target)
        wrong = (asked.said.argmax(1) != asked.true).astype(float)
        evidence = [mean_over_groups("share wrong", wrong, asked.groups)]
        evidence += [line for s in slices for line in (s.beyond_class, s.beyond_plain)]
        evidence.sort(key=lambda line: line.part)
        sure, hard = [s for s in slices if s.found], [s for s in slices if s.hard]
        homes = [next((s.name for s in sure if s.members[i]), "") for i in range(len(asked.ids))]
        trait, who = next(
            ((n, w) for s in sure + hard for n, w in s.traits.items()), ("", np.zeros(len(asked.ids), bool))
        )
        none = ["No slice holds more errors than the rest of its class, and than a plain classifier, beyond chance."]
        found = [_found(s) for s in sure] or none
        return Findings(
            "Slices with too many errors",
            "Kinds of samples that are got wrong more often than the rest of their class, by more than a plain "
            "classifier's errors explain, found on one half of the groups and checked on the other (ViG-Bias; Marani "
            "et al., ECCV 2024).",
            evidence,
            {"id": asked.ids, "wrong": wrong.tolist(), "slice": homes}
            | {"trait": [(trait if w else f"not {trait}") if trait else "" for w in who]},
            [] if vectors is not asked.inputs else ["Nothing was masked: there are no gradients by features."],
            asked="Are there kinds of samples that are got wrong more often than others of their class?",
            found=found + [_hard(s) for s in hard],
            limits=[
                "Hard is not always fair: where the samples that are asked about hold a shortcut themselves, a plain "
                "classifier takes it too; a split in which it does not hold tells more.",
                "What is no cluster of features is not found, nor a slice that is rare among few samples; a name says "
                "what members have in common, not why they are got wrong.",
            ],
        )


def _vectors(
    judge: Judge, target: Target, batches: Callable[[], Iterable[Batch]], inputs: Array, checked: Array
) -> Array:
    """Return what samples are clustered by: the channels that classes are named by, or all that they hold."""
    features = any(m.kind in ("sequence", "vector") for m in judge.schema.modalities)
    if not isinstance(judge, Panel) or judge.normalizers or not features:
        return inputs
    held, hot = [], []
    for whole in batches():
        batch = whole.select(whole.labelled(target.name))
        if len(batch):
            pairs = [heat(method, batch, target.name) for method in judge.methods]
            held.append(pairs[0][0])  # what samples hold is the same for every method
            hot.append(torch.stack([h for _, h in pairs]).mean(0))
    heats, means = (torch.cat(parts).double().cpu().numpy() for parts in (hot, held))
    return grounded(heats[~checked], means, MASKED)


def _found(one: Slice) -> str:
    more = f"{one.beyond_plain.value:+.3f} beyond what a plain classifier gets wrong"
    return f"Slice {one.number}, {one.name}: {_more(one.beyond_class)}, {more}."


def _hard(one: Slice) -> str:
    return f"Hard, {one.name}: {_more(one.beyond_class)}, but a plain classifier errs there too."


def _more(line: Evidence) -> str:
    return f"{line.value:+.3f} wrong beyond its class on the other half ({line.low:+.3f} to {line.high:+.3f})"


AUDIT = Bias
