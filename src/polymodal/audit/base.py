"""The contract of an audit: who is asked, what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Schema
from polymodal.data.ragged import Array
from polymodal.data.standardise import Normalizer, standardise
from polymodal.methods.base import Method
from polymodal.score.intervals import FEW, Blocks, jackknife, student
from polymodal.score.statistics import average

MOST = 6
"""Modalities of which all subsets are asked for: 64 passes over a split."""

Said = dict[str, Tensor]
"""Target -> ``(batch,)`` values, or ``(batch, classes)`` probabilities."""


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
        if self.normalizers:
            known = {id(n): standardise(batch, n) for n in self.normalizers}
            own = [known[id(n)] for n in self.normalizers]
        else:
            own = [batch] * len(self.methods)
        outputs = [method(part).predictions for method, part in zip(self.methods, own, strict=True)]
        return {
            t.name: torch.stack([t.spec.columns(o[t.name].float())[t.spec.averaged].double() for o in outputs]).mean(0)
            for t in self.schema.joint_targets
        }

    @torch.inference_mode()
    def states(self, batch: Batch) -> list[Array]:
        """Return what each method keeps of every sample: its fused vector, ``(batch, width)``."""
        if self.normalizers:
            raise TypeError("methods of several folds keep different things; ask those of one fold")
        outputs = [method(batch).representations["fused"] for method in self.methods]
        return [x.flatten(1).double().cpu().numpy() for x in outputs]


@dataclass(frozen=True)
class Evidence:
    """One finding over samples.

    Attributes:
        what: what was measured, for example ``importance of audio``.
        value: its mean.
        count: samples behind it.
        groups: groups (speakers, videos) behind it; samples where groups are not known.
        low, high: 95 % interval over groups; None where there are fewer than ``FEW``.
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
    """

    title: str
    about: str
    evidence: list[Evidence]
    samples: dict[str, list[Any]]
    notes: list[str] = field(default_factory=list)
    asked: str = ""
    found: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)


class Audit(Protocol):
    """One question to a judge. A module of this folder names its class ``AUDIT``."""

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
    """Return the mean of ``values`` (samples,) with an interval over whole groups, as ``score.intervals`` makes it.

    Args:
        what: name of the finding.
        values: numbers.
        groups: ``(samples,)``, equal within a group; None where every sample is one.
    """
    blocks, mean = Blocks.of(len(values), groups), average(values)
    value = float(mean(np.ones((1, len(values))))[0])
    if blocks.groups < FEW:
        return Evidence(what, value, len(values), blocks.groups)
    low, high, _ = student(value, [jackknife(mean, blocks)], 0.95)
    return Evidence(what, value, len(values), blocks.groups, low, high)
