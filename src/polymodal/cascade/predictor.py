"""A cascade applied to clips and features: the small run answers all, the large model what that is unsure of."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.cascade.asking import Questions, Sample
from polymodal.cascade.compose import Composer
from polymodal.cascade.folder import read_cascade
from polymodal.cascade.large import fitted_with
from polymodal.cascade.models import large_run, small_run
from polymodal.cascade.records import run as routed
from polymodal.cascade.routing import Answers, Rule
from polymodal.cascade.second import Again, OtherRun, Second, Services
from polymodal.cascade.speaker import target_of
from polymodal.cascade.sure import SureJudge, number_of
from polymodal.cascade.told import notes_of
from polymodal.cascade.voice import Sureness
from polymodal.core import DataError, OptionError, RunError, Target, nearest
from polymodal.core.limits import Limits
from polymodal.media.extraction import AS_RECORDED, Recogniser
from polymodal.media.types import Segment, Source
from polymodal.predict.clips import Clips
from polymodal.predict.features import Row
from polymodal.predict.predictor import Predictor
from polymodal.predict.timeline import Timeline
from polymodal.train.run import Run


class CascadePredictor:
    """A cascade with the interface of ``predict.predictor.Predictor``, for any number of clips, one at a time.

    Attributes:
        name: of its folder.
        target: what the cascade is about; other targets of the small run are answered by that.
        small: the small run.
        large: the run in the place of a large model; None where a service is asked.

    Args:
        folder: of the cascade.
        within: seconds that asking a service about one clip may take; what it has not answered by then is left to the
            small run.
        assets, level, threads, recogniser, limits: as ``Predictor``.

    Raises:
        RunError: ``cascade.json`` or a run is missing, damaged or not the one that the cascade was fitted with.
        DataError: a large run that is about something else.
        OptionError: recorded answers in the place of a large model, which know no clip; a service that the environment
            does not name.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        assets: str | Path | None = None,
        level: float = 0.9,
        threads: int = 2,
        recogniser: Recogniser = AS_RECORDED,
        limits: Limits = Limits(),  # noqa: B008 (never changed)
        within: float = math.inf,
    ) -> None:
        home = Path(folder)
        stored = read_cascade(home)
        about, run = stored["large"], small_run(home, stored)
        self.name, self._rule, self._limits = home.resolve().name, Rule(**stored["rule"]), limits
        self.target, self._fitted_with = target_of(run, stored["target"]), str(about["name"])
        kind, _, place = str(about["spec"]).partition(":")
        if kind == "file":
            raise OptionError(
                f"{home} asks recorded answers ({Path(place).name}), which know the samples of a corpus and no clip; "
                f"fit a cascade with run: or http in their place, or predict with its small run {run.path}"
            )
        options = {"assets": assets, "level": level, "threads": threads, "recogniser": recogniser, "limits": limits}
        self.large: Predictor | None = None
        self._services: Services | None = None
        if kind == "run":
            other = large_run(place, self.target, home, about.get("digest"))
            if about["sureness"] is None:
                raise RunError(f"{home} does not say how its large run is unsure; fit the cascade again")
            self.large = self._predictor(other, about["sureness"], options)
        else:
            self._services = Services(about["spec"], self.target, within)
        self.small = self._predictor(run, stored["small"]["sureness"], {**options, "words": self.large is None})
        own = run.schema.names
        self._extra = tuple(n for n in (self.large.run.schema.names if self.large else ()) if n not in own)

    def _predictor(self, run: Run, sureness: Mapping[str, Any], options: Mapping[str, Any]) -> Predictor:
        return Predictor(run, judging=partial(SureJudge, self.target, Sureness(**sureness)), **options)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is predicted."""
        return self.small.targets

    @property
    def predictors(self) -> tuple[Predictor, ...]:
        """Those of its runs."""
        return (self.small, self.large) if self.large else (self.small,)

    @property
    def clips(self) -> Clips:
        """How modalities of the small run are made from clips; loaded on first use, those of the large one as well.

        Raises:
            RunError, OptionError: as ``Predictor.clips``, for either run.
        """
        found = [predictor.clips for predictor in self.predictors]
        return found[0]

    def predict(
        self,
        clip: Source,
        *,
        name: str | None = None,
        transcript: str | Path | None = None,
        utterances: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Timeline:
        """Return what the cascade says about ``clip``.

        A large run reads the clip again, for the utterances that it is asked about. What it cannot read there, and what
        a service does not answer, is left to the small run, with a note.

        Args:
            clip, name, transcript, utterances, progress: as ``Predictor.predict``.

        Raises:
            DataError, OptionError, RunError: as there, for the small run; a large run that cannot be applied to clips.
        """
        _ = self.clips
        told = self.small.predict(clip, name=name, transcript=transcript, utterances=utterances, progress=progress)

        def again(run: Predictor, rows: list[int]) -> Timeline:
            if hasattr(clip, "seek"):
                clip.seek(0)
            moments = [told.moments[row] for row in rows]
            cut = [Segment(m.start, m.end, m.text, m.words, m.speaker) for m in moments]
            return run.predict_segments(clip, cut, name=name, progress=progress)

        return self._settled(told, [m.text for m in told.moments], again)

    def predict_features(self, rows: Sequence[Row], *, progress: Callable[[float], None] | None = None) -> Timeline:
        """Return what the cascade says about features.

        Args:
            rows: as ``Predictor.predict_features``, with modalities of both runs; where a service is asked, ``text`` is
                what it reads, even if the small run does not.
            progress: as there.

        Raises:
            DataError: as there, for the small run; what the large one cannot read is left to the small one.
        """
        self._limits.check_rows(rows)
        known = dict.fromkeys([*self.small.run.schema.names, *(self._extra if self.large else ("text",))])
        for number, row in enumerate(rows):
            for modality in row:
                if modality not in known:
                    raise DataError(f"row {number}: no modality {modality!r}{nearest(modality, known)}")
        told = self.small.predict_features(_known(rows, self.small), progress=progress)

        def again(run: Predictor, numbers: list[int]) -> Timeline:
            own = _known([rows[number] for number in numbers], run)
            return run.predict_features(own, progress=progress, numbers=numbers)

        words = [next((v for v in row.values() if isinstance(v, str)), "") for row in rows]
        return self._settled(told, words, again)

    def _settled(self, told: Timeline, words: Sequence[str], again: Again) -> Timeline:
        """Return what the small run says, ``told``, with the large model's answers where they are needed."""
        began = time.perf_counter()
        large: Second
        if self.large:
            large = OtherRun(self.large, self.target, len(words), again)
        else:
            assert self._services is not None
            large = self._services.asked(len(words))
        samples = [Sample(str(row), text) for row, text in enumerate(words)]
        questions = Questions(large, samples, self._small_answers(told))
        record = routed(self._rule, questions)
        calls = np.where(large.unasked, 0, record.calls)
        composer = Composer(self.target, self._rule, record, questions, calls, large.moments, self._extra)
        moments = tuple(composer.moment(row, m) for row, m in enumerate(told.moments))
        spent = round(time.perf_counter() - began, 3)
        notes = [*told.notes, *fitted_with(self._fitted_with, large), *notes_of(self.target, moments, large)]
        return replace(
            told,
            run=self.name,
            method="u-acs",
            modalities=(*told.modalities, *self._extra),
            moments=moments,
            calibrated=told.calibrated and large.calibrated and composer.measured(moments),
            notes=tuple(dict.fromkeys(notes)),
            seconds={**told.seconds, "large": spent, "total": round(told.seconds["total"] + spent, 3)},
        )

    def _small_answers(self, told: Timeline) -> Answers:
        routes = [m.estimates[self.target.name].cascade for m in told.moments]
        said = [route.small for route in routes if route is not None]
        return Answers(np.array([number_of(self.target, o) for o in said]), np.array([o.uncertainty for o in said]))


def _known(rows: Sequence[Row], run: Predictor) -> list[Row]:
    """Return ``rows`` with what ``run`` knows."""
    return [{name: value for name, value in row.items() if name in run.run.schema.names} for row in rows]
