"""Who is asked about the utterances of a clip that a small run is unsure of: a run on the same clip, or a service.

Both are large models whose samples are named by their number. What goes wrong while a clip is answered leaves its
utterances to the small run, with a sentence in ``notes``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from polymodal.cascade.asking import NOTHING, Answer, LargeModel, Reference, Sample
from polymodal.cascade.large import open_service
from polymodal.cascade.remote import Remote
from polymodal.cascade.routing import Array
from polymodal.cascade.sure import number_of
from polymodal.core import DataError, Target
from polymodal.predict.predictor import Predictor
from polymodal.predict.timeline import Moment, Timeline

REST = 60.0
"""Seconds for which a service that gave no answers is asked nothing more."""

Again = Callable[[Predictor, list[int]], Timeline]
"""A run, numbers of utterances in order -> what the run says of them."""


class Second(LargeModel, Protocol):
    """A large model, asked about one clip.

    Attributes:
        moments: number of an utterance -> all that is said of it, of a run.
        unasked: ``(utterances,)`` bool, those about which there was nothing to ask.
        calibrated: whether what it says of how sure it is was measured.
    """

    moments: dict[int, Moment]
    unasked: Array
    calibrated: bool


class OtherRun:
    """A run that is asked about some utterances of a clip, or rows of features; a ``Second``.

    Args:
        run: it.
        target: what it is asked about.
        count: of all utterances.
        again: asks it.
    """

    reads_references = False
    costly = False
    reads_text = False

    def __init__(self, run: Predictor, target: Target, count: int, again: Again) -> None:
        self.name, self._run, self._target, self._again = f"run {run.name}", run, target, again
        self.notes, self.usage = list[str](), dict[str, int]()
        self.moments: dict[int, Moment] = {}
        self.unasked: Array = np.zeros(count, bool)
        self.calibrated = True

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return its answers; ``NOTHING`` where it finds nothing to read."""
        rows = [int(sample.id) for sample in samples]
        try:
            told = self._again(self._run, rows)
        except DataError as error:
            self.notes.append(f"the large model, {self.name}, was left out: {error}")
            return [NOTHING] * len(rows)
        self.calibrated = told.calibrated
        self.notes += [f"{self.name}: {note}" for note in told.notes]
        self.moments |= {row: m for row, m in zip(rows, told.moments, strict=True) if m.present}
        if lost := len(rows) - len(self.moments):
            self.notes.append(
                f"the large model, {self.name}, found nothing to read in {lost} of {len(rows)} utterances"
            )
        return [self._answer(self.moments[row]) if row in self.moments else NOTHING for row in rows]

    def _answer(self, moment: Moment) -> Answer:
        route = moment.estimates[self._target.name].cascade
        assert route is not None
        return Answer(number_of(self._target, route.small), route.small.uncertainty)


class Service:
    """A service that is asked about words, and only where there are any; a ``Second``."""

    reads_references = True
    costly = True
    reads_text = True

    def __init__(self, remote: Remote, count: int, rest: Rest) -> None:
        self.name, self.notes, self.usage = remote.name, list[str](), remote.usage
        self.moments: dict[int, Moment] = {}
        self.unasked: Array = np.zeros(count, bool)
        self.calibrated = True
        self._remote, self._rest = remote, rest

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return its answers; ``NOTHING`` where there are no words, or no reply."""
        spoken = [row for row, sample in enumerate(samples) if sample.text.strip()]
        told = [references[row] for row in spoken] if references else None
        answers = self._remote.predict([samples[row] for row in spoken], told) if spoken else []
        self._rest.after(self._remote)
        found = dict(zip(spoken, answers, strict=True))
        self.unasked[[int(s.id) for row, s in enumerate(samples) if row not in found]] = True
        if silent := int(self.unasked.sum()):
            some = f"{silent} of {len(self.unasked)} utterances"
            self.notes.append(f"{some} have no words for the large model to read; the small run's answers stand")
        self.notes = list(dict.fromkeys([*self.notes, *self._remote.notes]))
        return [found.get(row, NOTHING) for row in range(len(samples))]


class Rest:
    """Leaves a service alone for a while after it gave no answers, so that not every clip waits for it anew."""

    def __init__(self) -> None:
        self._until, self._why = -math.inf, ""

    def before(self, remote: Remote) -> None:
        """Tell ``remote`` whether it may ask."""
        if time.monotonic() < self._until:
            remote.leave_alone(self._why)

    def after(self, remote: Remote) -> None:
        """Look at what ``remote`` found."""
        if remote.silent and remote.silent != self._why:
            self._until, self._why = time.monotonic() + REST, f"left alone for a while: {remote.silent}"


class Services:
    """A service, asked anew for each clip.

    Args:
        spec: ``http``, with options (see ``large.open_large``).
        target: what it is asked about.
        within: seconds that asking about one clip may take.

    Raises:
        OptionError: another spec, or an environment that does not name the service.
    """

    def __init__(self, spec: str, target: Target, within: float) -> None:
        self._spec, self._target, self._within, self._rest = spec, target, within, Rest()
        open_service(spec, target)

    def asked(self, count: int) -> Service:
        """Return who is asked about a clip with ``count`` utterances."""
        remote = open_service(self._spec, self._target)
        remote.shown = False  # whoever reads the clip shows how far that is
        remote.until = time.monotonic() + self._within
        self._rest.before(remote)
        return Service(remote, count, self._rest)
