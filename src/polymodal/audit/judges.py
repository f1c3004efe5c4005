"""Judges around others: any callable, and one who is asked again without the samples it fails on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from polymodal.audit.base import Audit, Findings, Judge, Panel, Said, Unanswerable
from polymodal.core import Batch, DataError, Schema

MOST = 0.5
"""Share of samples that a judge may fail on."""

AGAIN = 20
"""Times that an audit begins anew without the samples that were failed on."""


@dataclass
class Called:
    """Any callable as a judge.

    Attributes:
        schema: of what is asked.
        function: takes a ``Batch`` and returns, for each joint target, ``(batch,)`` values or ``(batch, classes)``
            probabilities, as a tensor, an array or a list; with one target, they may stand alone.
    """

    schema: Schema
    function: Callable[[Batch], Any]

    def __call__(self, batch: Batch) -> Said:
        """Return what the function says; DataError where it is not as many answers as samples."""
        said = self.function(batch)
        targets = self.schema.joint_targets
        given = said if isinstance(said, dict) else {targets[0].name: said}
        found = {}
        for target in targets:
            if target.name not in given:
                raise DataError(
                    f"{_name(self.function)} says nothing of {target.name!r}; return a value for each target"
                )
            values = torch.as_tensor(given[target.name]).detach().cpu().double()
            wanted = (len(batch), len(target.classes)) if target.classes else (len(batch),)
            if tuple(values.shape) != wanted:
                raise DataError(
                    f"{_name(self.function)} returned {tuple(values.shape)} for {target.name!r}, expected {wanted}"
                )
            found[target.name] = values
        return found


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


class Failed(Exception):
    """Samples that a judge gave no answer to: id -> reason."""

    def __init__(self, samples: dict[str, str]) -> None:
        super().__init__(f"no answer to {len(samples)} samples")
        self.samples = samples


class Patient:
    """A judge that says which samples another one fails on, by an exception or by what is no number."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.schema = judge, judge.schema

    def __call__(self, batch: Batch) -> Said:
        """Return the answers; Failed names the samples without one."""
        try:
            said = self.judge(batch)
        except Unanswerable:
            raise
        except Exception as error:  # a judge is anybody's code
            failed = _alone(self.judge, batch)
            if not failed:
                raise
            raise Failed(failed) from error
        finite = torch.stack([v.isfinite().reshape(len(v), -1).all(1).cpu() for v in said.values()]).all(0)
        if not bool(finite.all()):
            raise Failed({batch.ids[i]: "no number" for i in (~finite).nonzero()[:, 0].tolist()})
        return said


def _alone(judge: Judge, batch: Batch) -> dict[str, str]:
    failed = {}
    for row, sample in enumerate(batch.ids):
        try:
            judge(batch.select(torch.tensor([row])))
        except Unanswerable:
            raise
        except Exception as error:  # noqa: BLE001 (a judge is anybody's code)
            failed[sample] = str(error).splitlines()[0] if str(error) else type(error).__name__
    return failed


def ask(audit: Audit, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
    """Return what ``audit`` finds; samples that ``judge`` gives no answer to are left out, with a note.

    Raises:
        DataError, OptionError: as ``Audit.run``; more than half of the samples, or again and again others, without an
            answer.
    """
    lost: dict[str, str] = {}

    def remaining() -> Iterator[Batch]:
        for batch in batches():
            kept = torch.tensor([i not in lost for i in batch.ids])
            if bool(kept.any()):
                yield batch if bool(kept.all()) else batch.select(kept)

    # Audits may look into the methods of a run, which do not fail on single samples.
    patient: Judge = judge if isinstance(judge, Panel) else Patient(judge)
    for _ in range(AGAIN):
        try:
            found = audit.run(patient, remaining)
        except Failed as failure:
            lost |= failure.samples
            lost |= _all_failures(patient, remaining)
            count = sum(len(batch) for batch in batches())
            if len(lost) > MOST * count:
                raise DataError(
                    f"the model gives no answer to {len(lost)} of {count} samples; {_first(lost)}"
                ) from None
            continue
        if lost:
            found.notes.append(f"The model gave no answer to {len(lost)} samples, which are left out; {_first(lost)}.")
        return found
    raise DataError(f"the model fails again and again, on {len(lost)} samples so far; {_first(lost)}")


def _all_failures(judge: Judge, batches: Callable[[], Iterable[Batch]]) -> dict[str, str]:
    """Return what ``judge`` fails on as it is, so that an audit does not begin anew for each of them."""
    found: dict[str, str] = {}
    for batch in batches():
        try:
            judge(batch)
        except Failed as failure:
            found |= failure.samples
    return found


def _first(lost: dict[str, str]) -> str:
    sample, reason = next(iter(lost.items()))
    return f"the first is {sample!r}: {reason}"
