"""From rows of features to moments: prediction, interval, contributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from polymodal.audit.panels import panel_of
from polymodal.audit.shapley import Explanation, explain
from polymodal.core import Batch, RunError, Target
from polymodal.media.types import Segment
from polymodal.nn.certified import CertifiedHead
from polymodal.predict.features import Features, Row
from polymodal.predict.remarks import silences
from polymodal.predict.timeline import Estimate, Moment
from polymodal.predict.together import together
from polymodal.train.abstain import Abstainer
from polymodal.train.calibration import check_level
from polymodal.train.novelty import Novelty
from polymodal.train.run import Run
from polymodal.train.unlike import ALARM

SMALL = 10_000_000
"""Parameters up to which a few rows are judged by one thread: several would wait for each other longer than they work,
and, beside the threads of extraction, sometimes for seconds."""


class Judge:
    """The mean of all finished members of ``run``, calibrated where the run is.

    Attributes:
        panel: those members.
        features: makes batches of rows.

    Args:
        run: the run.
        level: of the intervals, one of ``train.calibration.LEVELS``.
        abstain_at: mean error to be kept by staying silent; None to answer always.

    Raises:
        RunError: weights, statistics or calibration that cannot be read; a run that says nothing about single samples.
        OptionError: a level that is not measured, an error that cannot be promised.
    """

    def __init__(self, run: Run, level: float, abstain_at: float | None = None) -> None:
        check_level(level)
        self.abstainer = None if abstain_at is None else Abstainer(abstain_at)
        if self.abstainer:
            self.abstainer.check(run)
        self.targets, self.level = run.schema.joint_targets, level
        for target in self.targets:
            if target.spec.answer == "match":
                raise RunError(
                    f"{run.path} finds samples for samples ({target.task} {target.name!r}); one alone has none"
                )
        self.calibration, self.novelty = run.calibration, Novelty.read(run)
        self.panel = panel_of(run)
        parts = [part for m in self.panel.methods for part in m.modules()]
        self._certifies = any(isinstance(part, CertifiedHead) for part in parts)
        self._small = sum(p.numel() for m in self.panel.methods for p in m.parameters()) <= SMALL
        self.features = Features(run)

    def moments(self, rows: Sequence[Row], segments: Sequence[Segment], names: Sequence[str]) -> list[Moment]:
        """Return one moment per row.

        Args:
            rows: features, see ``Features.batch``.
            segments: when and with which words.
            names: of the rows, for messages.
        """
        return self.judged(self.features.batch(rows, names), segments)

    def judged(self, batch: Batch, segments: Sequence[Segment]) -> list[Moment]:
        """Return one moment per sample of ``batch``, which is as ``Features.batch`` makes it."""
        there = [tuple(n for n, p in zip(batch.streams, flags, strict=True) if p) for flags in batch.present.tolist()]
        with self.threads():
            explained = explain(self.panel, batch, self._temperatures(there))
            radii = self.panel.radii(batch) if self._certifies else {}
            timed = self.panel.steps(batch)
        unlike = self.novelty.told(batch) if self.novelty else [None] * len(batch)
        return [
            Moment(
                round(segment.start, 3),
                round(segment.end, 3),
                present,
                {
                    t.name: replace(
                        self._diagnosed(t, explained[t.name], i, present, radii), steps=_steps(t, timed.get(t.name), i)
                    )
                    for t in self.targets
                },
                segment.text,
                segment.words,
                segment.speaker,
                unlike=unlike[i],
            )
            for i, (segment, present) in enumerate(zip(segments, there, strict=True))
        ]

    def threads(self) -> AbstractContextManager[None]:
        """Return a context with as many threads as are good for a few rows."""
        return _one_thread() if self._small else nullcontext()

    def _temperatures(self, there: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray[Any, Any]]:
        known = self.calibration
        if known is None:
            return {}
        return {
            t.name: np.array([known.temperature(t.name, present) or 1.0 for present in there])
            for t in self.targets
            if t.spec.calibration == "temperature"
        }

    def _diagnosed(
        self,
        target: Target,
        found: Explanation,
        row: int,
        present: tuple[str, ...],
        radii: Mapping[str, np.ndarray[Any, Any]],
    ) -> Estimate:
        """Return the estimate with how modalities go together and whether the run stays silent."""
        value, low_high = found.value[row], target.range or (0.0, 1.0)
        # Of classes, the likeliest one is looked at.
        best = 0 if target.spec.answer == "number" else int(value.argmax())
        alone = {n: float(found.alone[n][row][best]) for n in present}
        pair = together(alone, float(value[best] - found.baseline[row][best]), low_high[1] - low_high[0])
        silent = None
        if self.abstainer:
            silent = not self.abstainer.answered(self.calibration, target, present, value[None])[0]
        return replace(self._estimate(target, found, row, present, radii), together=pair, abstained=silent)

    def _estimate(
        self,
        target: Target,
        found: Explanation,
        row: int,
        present: tuple[str, ...],
        radii: Mapping[str, np.ndarray[Any, Any]],
    ) -> Estimate:
        value, baseline = found.value[row], found.baseline[row]
        shares = {n: found.contributions[n][row] for n in present}
        if target.spec.answer == "number":
            said = float(value[0])
            low, high = self._interval(target, said, present)
            return Estimate(
                float(baseline[0]), {n: float(s[0]) for n, s in shares.items()}, value=said, low=low, high=high
            )
        chances = dict(zip(target.classes, map(float, value), strict=True))
        if target.spec.answer == "class":
            best = int(value.argmax())
            own = {n: float(s[best]) for n, s in shares.items()}
            radius = float(radii[target.name][row]) if target.name in radii else None
            return Estimate(
                float(baseline[best]), own, label=target.classes[best], probabilities=chances, radius=radius
            )
        named = {n: dict(zip(target.classes, map(float, s), strict=True)) for n, s in shares.items()}
        nothing = dict(zip(target.classes, map(float, baseline), strict=True))
        labels = tuple(c for c, p in chances.items() if p > 0.5)
        return Estimate(nothing, named, labels=labels, probabilities=chances)

    def _interval(self, target: Target, value: float, present: tuple[str, ...]) -> tuple[float | None, float | None]:
        """Return the interval, cut to the scale of the labels, which holds every label that it could lose."""
        known = self.calibration
        width = known.half_width(target.name, present, self.level) if known else None
        if width is None:
            return None, None
        low, high = target.range or (-np.inf, np.inf)
        return max(value - width, min(low, value)), min(value + width, max(high, value))

    def knows(self, target: Target, present: tuple[str, ...]) -> bool:
        """Whether the run is calibrated for ``target`` where exactly ``present`` is there."""
        if self.calibration is None:
            return False
        if target.spec.calibration == "interval":
            return self.calibration.half_width(target.name, present, self.level) is not None
        return self.calibration.temperature(target.name, present) is not None

    def notes(self, moments: Sequence[Moment]) -> list[str]:
        """Return what is promised of silence, and how many of ``moments`` are unlike training, one sentence each."""
        found: list[str] = []
        if self.abstainer:
            there = dict.fromkeys(m.present for m in moments if m.present)
            found += silences(self.targets, moments)
            found += [self.abstainer.told(self.calibration, t, p) for p in there for t in self.targets]
        if self.novelty is None:
            return found
        told = [m.unlike for m in moments if m.present]
        if None in told:
            found.append(
                f"how unlike training a sample is cannot be told of all: {self.novelty.held_out} has too few groups"
            )
        far = sum(one.alarm for one in told if one)
        if far:
            found.append(f"{far} of {len(told)} are unlike the training data; of clips like those {ALARM:.0%} would be")
        return found


def _steps(target: Target, timed: torch.Tensor | None, row: int) -> dict[str, tuple[float, ...]] | None:
    """Return the probabilities of each class along the steps of sample ``row``, behind which they are zero."""
    if timed is None:
        return None
    own = timed[row][timed[row].sum(1) > 0]
    return {name: tuple(own[:, k].tolist()) for k, name in enumerate(target.classes)}


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
