"""A trained run applied to clips, features and streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.audit.shapley import CHUNK
from polymodal.core import DataError, OptionError, Target
from polymodal.core.limits import Limits
from polymodal.core.text import clean
from polymodal.media.extraction import AS_RECORDED, CHOICES, Recogniser
from polymodal.media.types import Frame, Samples, Segment, Source, Utterance
from polymodal.predict.clips import Clips, open_clips
from polymodal.predict.features import Row
from polymodal.predict.judge import Judge
from polymodal.predict.ready.place import told
from polymodal.predict.timeline import Moment, Timeline
from polymodal.train.run import Run

if TYPE_CHECKING:
    from polymodal.media.reading import Reading


class Predictor:
    """The mean of all finished seeds of a run, in every fold, ready for any number of clips, one at a time.

    Attributes:
        name: what results call the run: its folder's name, or its name on the hub.

    Args:
        run: the run.
        assets: folder with models that are not installed with packages (see ``media.pipeline.Pipeline``).
        level: of the intervals, one of ``train.calibration.LEVELS``.
        threads: of extraction.
        recogniser: of speech, where it is not to be the one that the run's corpus was transcribed with.
        abstain_at: mean error to be kept by staying silent where that is not sure; None to answer always.
        limits: the most that is taken of rows and transcripts.
        judging: makes the judge of run, level and ``abstain_at``.
        words: write down what is said even if the run does not read it.

    Raises:
        RunError: weights or statistics that cannot be read.
        OptionError: a level that is not measured, an error that cannot be promised.
    """

    def __init__(
        self,
        run: Run,
        *,
        assets: str | Path | None = None,
        level: float = 0.9,
        threads: int = 2,
        recogniser: Recogniser = AS_RECORDED,
        abstain_at: float | None = None,
        limits: Limits = Limits(),  # noqa: B008 (never changed)
        judging: Callable[[Run, float, float | None], Judge] = Judge,
        words: bool = False,
    ) -> None:
        self.run, self.level, self.abstain_at, self._limits = run, level, abstain_at, limits
        self.name = run.path.resolve().name
        self._assets, self._threads, self._recogniser, self._words = assets, threads, recogniser, words
        self._judge = judging(run, level, abstain_at)
        self._told = told(run.path)  # of a ready run: with everything that it says

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        assets: str | Path | None = None,
        level: float = 0.9,
        threads: int = 2,
        recogniser: Recogniser = AS_RECORDED,
        abstain_at: float | None = None,
        limits: Limits = Limits(),  # noqa: B008
    ) -> Predictor:
        """Open a run folder, a ready run by its name, or a run on a hub as ``org/name``.

        Raises:
            RunError, OptionError: as the class; no such run.
        """
        path, name = Path(run), ""
        if not path.exists():
            from polymodal.predict.hub import resolve

            path, name = resolve(str(run)), str(run)
        found = cls(
            Run.load(path),
            assets=assets,
            level=level,
            threads=threads,
            recogniser=recogniser,
            abstain_at=abstain_at,
            limits=limits,
        )
        found.name = name or found.name
        return found

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is predicted."""
        return self.run.schema.joint_targets

    @cached_property
    def clips(self) -> Clips:
        """How modalities are made from clips; loaded on first use, with all that the first clip would wait for.

        Raises:
            RunError: nothing that the run was trained on can be made from a clip.
            OptionError: the recogniser that is asked for cannot be had.
        """
        found = open_clips(
            self.run, assets=self._assets, threads=self._threads, recogniser=self._recogniser, words=self._words
        )
        self._judge.features.warm_up()
        return found

    def predict(
        self,
        clip: Source,
        *,
        name: str | None = None,
        transcript: str | Path | None = None,
        utterances: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Timeline:
        """Return what the run says about ``clip``.

        Args:
            clip: file, bytes, or a seekable stream.
            name: of the clip, for messages; default its file name.
            transcript: file with what is said when (.srt, .vtt, .TextGrid, .json); its segments are the utterances.
            utterances: ``speech``, ``windows`` or ``clip``; default as the run's corpus was cut, or speech.
            progress: called with the seconds of the clip that are done.

        Raises:
            DataError: the clip or transcript cannot be read or is too large, or there is nothing in the clip that the
                run can use.
            OptionError: a transcript and ``utterances`` that contradict each other.
            RunError: the run cannot be applied to clips.
        """
        began = time.perf_counter()
        segments, mode = self._cut(transcript, utterances)
        pipeline = self.clips.pipeline
        with pipeline.read(clip, name=name, segments=segments, utterances=mode, progress=progress) as reading:
            moments, seconds = self._read(reading)
        if segments:
            moments = _within(moments, reading)
        uncut, before = not moments, reading.notes
        if uncut:
            if hasattr(clip, "seek"):
                clip.seek(0)
            with pipeline.read(clip, name=name, utterances="clip", progress=progress) as reading:
                moments, seconds = self._read(reading)
        notes = [*self._told, *self.clips.notes, *before, *reading.notes]
        notes += ["no utterance was found: the clip is judged as one"] if uncut else []
        if not any(m.present for m in moments):
            reasons = "; ".join(dict.fromkeys([*reading.notes, *self.clips.notes])) or "it is silent and shows no face"
            raise DataError(f"{reading.info.name} has none of {', '.join(self.clips.sources)}: {reasons}")
        duration = reading.info.duration if reading.info.duration is not None else reading.position
        seconds = {n: round(s, 3) for n, s in (reading.seconds | seconds).items()}
        seconds["total"] = round(time.perf_counter() - began, 3)
        return self._timeline(reading.info.name, duration, moments, notes, seconds)

    def predict_segments(
        self,
        clip: Source,
        segments: Sequence[Segment],
        *,
        name: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Timeline:
        """Return what the run says about stretches of ``clip``: a moment for each, also where nothing is there.

        Args:
            segments: in the order of their starts, then of their ends; one without text is transcribed where the run
                reads words.
            clip, name, progress: as ``predict``.

        Raises:
            DataError: the clip cannot be read.
            RunError: the run cannot be applied to clips.
        """
        began = time.perf_counter()
        with self.clips.pipeline.read(
            clip, name=name, segments=segments, utterances="transcript", progress=progress
        ) as reading:
            moments, _ = self._read(reading)
        seconds = {"total": round(time.perf_counter() - began, 3)}
        notes = [*self._told, *self.clips.notes, *reading.notes]
        return self._timeline(reading.info.name, reading.position, moments, notes, seconds)

    def predict_features(
        self,
        rows: Sequence[Row],
        *,
        progress: Callable[[float], None] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Timeline:
        """Return what the run says about features; every row is a moment at time 0.

        Args:
            rows: per sample, modality -> array of the run's shape (``(time, width)``, or ``(width,)`` for a vector),
                text, or None; a modality that is left out is absent. Encoded modalities take text or states.
            progress: called now and then, with 0.0; what it raises ends the work.
            numbers: of the rows, for messages; default from 0 on.

        Raises:
            DataError: an unknown modality or a wrong shape, names the row; more than is taken.
        """
        began = time.perf_counter()
        self._limits.check_rows(rows)
        moments: list[Moment] = []
        called = [f"row {number}" for number in numbers or range(len(rows))]
        for start in range(0, len(rows), CHUNK):
            if progress is not None:
                progress(0.0)
            part = rows[start : start + CHUNK]
            told = [clean(next((v for v in row.values() if isinstance(v, str)), "")) for row in part]
            segments = [Segment(0.0, 0.0, text) for text in told]
            moments += self._judge.moments(part, segments, called[start : start + CHUNK])
        if not moments:
            raise DataError("there are no rows to predict; give at least one")
        return self._timeline("features", 0.0, moments, [*self._told], {"total": round(time.perf_counter() - began, 3)})

    def stream(
        self, pieces: Iterable[Frame | Samples], *, rolling: tuple[float, float] | None = None
    ) -> Iterator[Moment]:
        """Yield a moment as soon as an utterance of a running stream is over.

        Args:
            pieces: frames and samples in the order of their times.
            rolling: (length, step) in seconds: judge the last ``length`` seconds every ``step`` seconds instead.

        Raises:
            RunError: the run cannot be applied to clips.
        """
        with self.clips.pipeline.read(pieces, utterances="speech", rolling=rolling) as reading:
            for utterance in reading:
                yield from self._moments([utterance], "the stream")

    def _cut(self, transcript: str | Path | None, utterances: str | None) -> tuple[list[Segment] | None, str]:
        """Return the segments of a transcript, and how to cut without them."""
        if utterances is not None and utterances not in CHOICES["utterances"]:
            raise OptionError(f"utterances must be one of {', '.join(CHOICES['utterances'])}, got {utterances!r}")
        if transcript is None:
            return None, utterances or self.clips.pipeline.extraction.utterances
        if utterances not in (None, "transcript"):
            raise OptionError(f"a transcript says where utterances are; leave out the transcript or {utterances!r}")
        from polymodal.media.words.transcripts import read_transcript

        segments = read_transcript(transcript)
        self._limits.check_transcript(f"the transcript {transcript}", [segment.text for segment in segments])
        return segments, "transcript"

    def _read(self, reading: Reading) -> tuple[list[Moment], dict[str, float]]:
        """Return the moments of a clip and the seconds that judging them took."""
        moments: list[Moment] = []
        waiting, spent = iter(reading), 0.0
        while chunk := list(islice(waiting, CHUNK)):
            began = time.perf_counter()
            moments += self._moments(chunk, reading.info.name)
            spent += time.perf_counter() - began
        return sorted(moments, key=lambda m: (m.start, m.end)), {"model": spent}

    def _moments(self, utterances: Sequence[Utterance], clip: str) -> list[Moment]:
        rows, segments = [self.clips.row(u) for u in utterances], [u.segment for u in utterances]
        found = self._judge.moments(rows, segments, [f"{clip} at {s.start:.1f} s" for s in segments])
        return [replace(m, absent=self.clips.absent(u)) for m, u in zip(found, utterances, strict=True)]

    def _timeline(
        self, clip: str, duration: float, moments: list[Moment], notes: list[str], seconds: dict[str, float]
    ) -> Timeline:
        calibrated = all(self._judge.knows(t, m.present) for t in self.targets for m in moments)
        if self._judge.calibration is None:
            notes.append(
                "not calibrated: the run has no calibration.json for its seeds, or too few validation samples for one"
            )
        elif not calibrated:
            notes.append(
                f"not calibrated everywhere: too few validation samples for level {self.level} and what is there"
            )
        notes += self._judge.notes(moments)
        for name in self.run.schema.names:
            if not any(name in m.present for m in moments):
                notes.append(f"{name} is in no utterance")
        return Timeline(
            clip=clip,
            duration=round(duration, 3),
            run=self.name,
            method=self.run.config["method"],
            modalities=self.run.schema.names,
            targets=self.targets,
            moments=tuple(moments),
            level=self.level,
            calibrated=calibrated,
            notes=tuple(dict.fromkeys(notes)),
            seconds=seconds,
            abstain_at=self.abstain_at,
        )


def _within(moments: Sequence[Moment], reading: Reading) -> list[Moment]:
    """Return the moments of a transcript that begin before the clip ends, with a note of ``reading`` on the others.

    Raises:
        DataError: none does.
    """
    found, name, end = [m for m in moments if m.start < reading.position], reading.info.name, reading.position
    if not found:
        raise DataError(
            f"{name} lasts {end:.1f} s and no segment of the transcript lies within it; give the "
            "transcript of this clip"
        )
    if lost := len(moments) - len(found):
        some = f"{lost} of {len(moments)} segments of the transcript"
        reading.notes.append(f"{some} begin after {name} ends, at {end:.1f} s, and are left out")
    return found
