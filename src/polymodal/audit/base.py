"""The contract of an audit: who is asked, what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.data.ragged import Array
from polymodal.data.standardise import Normalizer, standardise
from polymodal.methods.base import Method
from polymodal.score.intervals import FEW, Blocks, jackknife, student
from polymodal.score.statistics import Statistic, average
from polymodal.train.answers import common_radius

MOST = 6
"""Modalities of which all subsets are asked for: 64 passes over a split."""

Said = dict[str, Tensor]
"""Target -> ``(batch,)`` values, or ``(batch, classes)`` probabilities."""


Ends = tuple[float, float] | tuple[None, None]
"""Of an interval; None where there is none."""


class Unanswerable(OptionError):
    """Raised by a judge that cannot be asked such a question at all, about any sample."""


class Judge(Protocol):
    """Whoever gives an answer: a run, a cascade, a recorded or a remote model."""

    schema: Schema

    def __call__(self, batch: Batch) -> Said:
        """Return what is said of each sample: values of a regression, probabilities where there are classes."""
        ...


class Panel:
    """The mean of several methods, in evaluation mode, such as the seeds of a run.

    Args:
        methods: of one schema.
        normalizers: one per method, for batches that are not standardised yet; default: they are.
    """

    def __init__(self, methods: Sequence[Method], normalizers: Sequence[Normalizer] = ()) -> None:
        self.methods, self.schema, self.normalizers = methods, methods[0].schema, normalizers

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Said:
        """Return the mean over methods."""
        outputs = [output.predictions for output in self.outputs(batch)]
        return {
            t.name: torch.stack([t.spec.columns(o[t.name].float())[t.spec.averaged].double() for o in outputs]).mean(0)
            for t in self.schema.joint_targets
        }

    @torch.inference_mode()
    def radii(self, batch: Batch) -> dict[str, Array]:
        """Return target -> ``(batch,)``, how far what is encoded may move before the class changes (see
        ``train.answers.common_radius``); without targets of which a method certifies nothing."""
        outputs, found = self.outputs(batch), {}
        for t in self.schema.joint_targets:
            name = f"{t.name}/radius"
            if all(name in o.representations for o in outputs):
                radii = [o.representations[name].double().numpy() for o in outputs]
                found[t.name] = common_radius(radii, [o.predictions[t.name].argmax(dim=1).numpy() for o in outputs])
        return found

    @torch.inference_mode()
    def steps(self, batch: Batch) -> Said:
        """Return target -> ``(batch, time, classes)``, the mean over methods of what they say of single steps; nothing
        where they do not (see ``Method.finds_steps``)."""
        if not all(method.finds_steps for method in self.methods):
            return {}
        outputs = [output.representations for output in self.outputs(batch)]
        names = [t.name for t in self.schema.joint_targets]
        return {name: torch.stack([o[f"{name}/steps"].double() for o in outputs]).mean(0) for name in names}

    @torch.inference_mode()
    def states(self, batch: Batch) -> list[Array]:
        """Return what each method keeps of every sample, its fused vector, ``(batch, width)``; nothing of methods of
        several folds, which keep different things."""
        kept = [] if self.normalizers else [output.representations["fused"] for output in self.outputs(batch)]
        return [x.flatten(1).double().cpu().numpy() for x in kept]

    def outputs(self, batch: Batch) -> list[Output]:
        """Return what each method makes of ``batch``."""
        known = {id(n): standardise(batch, n) for n in self.normalizers}
        own = [known[id(n)] for n in self.normalizers] or [batch] * len(self.methods)
        return [method(part) for method, part in zip(self.methods, own, strict=True)]


@dataclass(frozen=True)
class Evidence:
    """One finding over samples.

    Attributes:
        what: what was measured, for example ``importance of audio``.
        value: its mean.
        count: samples behind it.
        groups: groups (speakers, videos) behind it; samples where groups are not known.
        low, high: 95 % interval over groups; None where there is none, see ``interval``.
        part: heading under which the line is drawn and listed; lines of one part share a scale.
        unit: of the value, for example ``bit``; empty for a plain number.
    """

    what: str
    value: float
    count: int
    groups: int
    low: float | None = None
    high: float | None = None
    part: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Findings:
    """What an audit returns.

    Attributes:
        title: for tables and pages.
        about: what is measured, in a sentence or two, with its source.
        evidence: lines of the table.
        samples: columns of equal length, one row per sample, ``id`` first.
        notes: what a reader must know beside.
        asked: the question, in a sentence that needs no statistics.
        found: the answer in words, a sentence each, figures included.
        limits: what the findings do not show, a sentence each.
        refused: why it could not be asked, one sentence; there is nothing else then.
    """

    title: str
    about: str
    evidence: list[Evidence]
    samples: dict[str, list[Any]]
    notes: list[str] = field(default_factory=list)
    asked: str = ""
    found: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    refused: str = ""


class Audit(Protocol):
    """One question to a judge. A module of this folder names its class ``AUDIT``.

    A class with the attribute ``reads_text = True`` is asked with raw text in its batches wherever there is some, also
    where the judge reads features that a frozen encoder makes of it.
    """

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Ask ``judge`` about ``batches``, which may be passed over several times.

        Raises:
            OptionError, DataError: the question makes no sense for this judge or these samples; one sentence.
        """
        ...


def check_subsets(schema: Schema) -> None:
    """Raise OptionError where all subsets of modalities are too many to ask for."""
    count = len(schema.names)
    if count > MOST:
        raise OptionError(
            f"{count} modalities have {2**count} subsets, more than can be asked for; audit a run with at most {MOST}"
        )


def mean_over_groups(what: str, values: Array, groups: Array | None) -> Evidence:
    """Return the mean of ``values`` (samples,) with its ``interval``; a share's, all of them 0 or 1, ends at 0 and 1.

    Args:
        what: name of the finding.
        values: numbers.
        groups: ``(samples,)``, equal within a group; None where every sample is one.
    """
    blocks, mean = Blocks.of(len(values), groups), average(values)
    value = float(mean(np.ones((1, len(values))))[0])
    low, high = interval(mean, value, blocks)
    if low is not None and high is not None and np.isin(values, (0, 1)).all():
        low, high = max(low, 0.0), min(high, 1.0)
    return Evidence(what, value, len(values), blocks.groups, low, high)


def interval(statistic: Statistic, value: float, blocks: Blocks, least: float = 1e-9) -> Ends:
    """Return both ends of the 95 % interval over whole groups, as ``score.intervals`` makes it.

    There is none, None twice, below ``FEW`` groups, and where it is no wider than ``least``: what leaving groups out
    never moves, such as a share of 0 in all of them, need not be the same in others.

    Args:
        statistic: of samples.
        value: its value.
        least: width that an interval has at least, for instance what the statistic is exact to.
    """
    if blocks.groups < FEW:
        return None, None
    low, high, _ = student(value, [jackknife(statistic, blocks)], 0.95)
    return (low, high) if high - low > least else (None, None)
