"""One clip being read: pieces in, utterances out."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np

from polymodal.core import DataError
from polymodal.media.clip.cutting import Cutter, Given, Rolling, Speech, Windows
from polymodal.media.clip.dead import is_silence
from polymodal.media.extraction import FACE, Extraction
from polymodal.media.face.seen import NO_FACE, Seen
from polymodal.media.sound.heard import Heard
from polymodal.media.types import ClipInfo, Ear, Frame, Samples, Segment, Source, Track, Utterance, Word

if TYPE_CHECKING:
    from polymodal.media.pretrained.sight import Sight
    from polymodal.media.pretrained.words import Reader
    from polymodal.media.words.said import Said, Transcript
    from polymodal.media.words.transcribe import Transcriber

T = TypeVar("T")

ONSET = 0.5
"""Seconds by which the beginning of speech may be noticed late."""

AHEAD = 4
"""Stretches of speech that may wait for the recogniser; more would only fill the memory."""

UNTIMED = "the transcript says which words, not when"
"""Why nothing can be averaged over words."""

AFTER = 0.05
"""Seconds of sound that acoustic features need behind the last step."""


class Tools(Protocol):
    """What reads clips; see ``Pipeline``, which is one."""

    extraction: Extraction
    ears: dict[str, Ear]
    sights: dict[str, Sight | None]
    reader: Reader | None
    face_model: Path | None
    transcriber: Transcriber | None
    threads: int


class Reading:
    """Iterates once over the utterances of a clip; see ``Pipeline.read``.

    Attributes:
        info: what the container says.
        notes: what was wrong or is missing, one sentence each; complete when the iteration is over.
        seconds: stage (decode, speech, text, vision, audio) -> seconds of work. Stages overlap with several threads.
        shares: ``face`` (share of frames with a face) and ``speech`` (share of the time), where looked for.
        position: seconds of the clip read so far.
    """

    def __init__(
        self,
        tools: Tools,
        source: Source | Iterable[Frame | Samples],
        *,
        name: str | None,
        segments: Sequence[Segment] | None,
        utterances: str,
        rolling: tuple[float, float] | None,
        progress: Callable[[float], None] | None,
    ) -> None:
        self._tools, self._closing, self._live = tools, ExitStack(), rolling is not None
        self._progress, self._told = progress, 0.0
        self.seconds: dict[str, float] = {}
        self.position = 0.0
        self.notes: list[str] = []
        self._media: Any = None
        self.info, self._pieces = self._open(source, name)
        self._sound = Heard()
        self._faces = Seen(self._tracker(), self._worker(), self._timed)
        self._cutter = self._choose_cutter(segments, utterances, rolling)
        self._words: list[Word] = []
        self._speech = self._activity(segments)
        self._spoken = 0.0
        self._scribe = self._worker()
        self._transcripts: deque[Future[Transcript]] = deque()
        self._said = self._listens()
        self._utterances = 0
        self._absent: dict[tuple[str, str], list[float]] = {}

    def _open(self, source: Any, name: str | None) -> tuple[ClipInfo, Iterator[Frame | Samples]]:
        from polymodal.media.clip.decode import Media

        tools = self._tools
        if not isinstance(source, str | Path | bytes) and not hasattr(source, "read"):
            return ClipInfo(name or "stream", None), iter(source)
        self._media = self._closing.enter_context(Media(source, name=name))
        info: ClipInfo = self._media.info
        video = tools.face_model is not None and info.has_video
        audio = info.has_audio and (bool(tools.ears) or tools.extraction.text != "none")
        if not info.has_audio:
            self.notes.append(f"{info.name} has no sound: audio is absent")
        if not info.has_video and tools.face_model is not None:
            self.notes.append(f"{info.name} has no picture: vision is absent")
        # Neither is needed when nothing can be made of it, but a clip must not seem empty for that.
        pieces = self._media.pieces(
            audio=audio or (info.has_audio and not video), video=video, fps=tools.extraction.fps
        )
        return info, pieces

    def _worker(self) -> Executor:
        if self._tools.threads < 2 and not self._live:
            return _AtOnce()
        executor = ThreadPoolExecutor(1)
        self._closing.callback(executor.shutdown, cancel_futures=True)
        return executor

    def _tracker(self) -> Any:
        if self._tools.face_model is None or not (self._media is None or self.info.has_video):
            return None
        from polymodal.media.face.tracker import FaceTracker

        kinds = set(self._tools.extraction.streams("vision").values())
        tracker = FaceTracker(self._tools.face_model, features=FACE in kinds, crops=bool(kinds - {FACE}))
        return self._closing.enter_context(tracker)

    def _choose_cutter(
        self, segments: Sequence[Segment] | None, utterances: str, rolling: tuple[float, float] | None
    ) -> Cutter:
        if rolling is not None:
            return Rolling(*rolling)
        if segments is not None:
            return Given(segments)
        if utterances == "transcript":
            raise DataError(f"{self.info.name} has no transcript; give one, or cut it by speech, windows or clip")
        if utterances == "clip":
            return Given([Segment(0.0, math.inf)])
        if utterances == "windows":
            return Windows(self._tools.extraction.window)
        return Speech(self._tools.extraction.window, self._faces.seen)

    def _activity(self, segments: Sequence[Segment] | None) -> Any:
        """Return speech activity where it cuts the clip or where speech is transcribed."""
        untold = segments is None or any(not s.text for s in segments)
        transcribed = self._tools.transcriber is not None and untold
        if not (isinstance(self._cutter, Speech) or transcribed):
            return None
        from polymodal.media.sound.speech import SpeechActivity

        return SpeechActivity(longest=self._tools.extraction.longest)

    def _listens(self) -> Said | None:
        """Return what counts transcripts; None where nothing is transcribed."""
        transcriber = self._tools.transcriber
        if transcriber is None or self._speech is None or not (self._media is None or self.info.has_audio):
            return None
        from polymodal.media.words.said import Said

        language = self._tools.extraction.language
        return Said("" if language == "auto" else language, transcriber.only)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def __iter__(self) -> Iterator[Utterance]:
        while (piece := self._timed("decode", lambda: next(self._pieces, None))) is not None:
            if isinstance(piece, Samples):
                self._hear(piece)
            else:
                self._faces.push(piece)
                self.position = max(self.position, piece.time)
            for segment in self._cutter.closed(self._settled(piece.time)):
                yield self._utterance(segment)
            self._forget()
            if self.position >= self._told + 0.25:
                self._tell_progress()
        if self._speech is not None:
            self._spoke(self._timed("speech", self._speech.finish))
        for segment in self._cutter.finish(self.position):
            yield self._utterance(segment)
        self.notes += self._media.notes if self._media is not None else []
        self._tell()

    def _tell_progress(self) -> None:
        if self._progress is not None:
            self._told = self.position
            self._progress(self.position)

    def _tell(self) -> None:
        """Note what is there and says nothing, and what the transcript is worth."""
        if self._said is not None and not self._spoken:
            self.notes.append(f"{self.info.name}: no speech was found, its text is empty")
        elif self._said is not None:
            self.notes += self._said.notes(self.info.name)
        elif self._speech is not None and self._tools.ears and self.info.has_audio and not self._spoken:
            self.notes.append(f"{self.info.name}: no speech was found, what is heard is not a voice")
        for (modality, why), starts in self._absent.items():
            if len(starts) == self._utterances:
                self.notes.append(f"{self.info.name}: {why}, {modality} is absent")
            elif why != NO_FACE:
                some = f"in {len(starts)} of {self._utterances} utterances, the first at {starts[0]:.1f} s"
                self.notes.append(f"{self.info.name}: {why} {some}; {modality} is absent there")

    def _hear(self, samples: Samples) -> None:
        self._sound.push(samples)
        self.position = max(self.position, samples.end)
        if self._speech is not None:
            self._spoke(self._timed("speech", lambda: self._speech.push(samples)))

    def _spoke(self, segments: Sequence[Segment]) -> None:
        """Take stretches of speech that have ended."""
        self._spoken += sum(s.end - s.start for s in segments)
        if isinstance(self._cutter, Speech):
            self._cutter.heard(segments)
        transcriber = self._tools.transcriber
        if transcriber is None:
            return
        for segment in segments:
            samples = self._sound.between(segment.start, segment.end)

            def transcribe(heard: Samples = samples) -> Transcript:
                return self._timed("text", lambda: transcriber.transcribe(heard.values, heard.time))

            self._transcripts.append(self._scribe.submit(transcribe))
            if len(self._transcripts) > AHEAD:
                self._write_down()

    def _write_down(self) -> None:
        """Take the oldest transcript; live, where nobody waits, one that is not begun is left out."""
        oldest = self._transcripts.popleft()
        if self._live and oldest.cancel():
            return
        found = oldest.result()
        self._words += found.words
        if self._said is not None:
            self._said.add(found)

    def _settled(self, now: float) -> float:
        """Time before which neither pieces nor speech will change."""
        if self._speech is None or self._live:
            return now - AFTER
        since = self._speech.open_since
        return now - ONSET if since is None else min(now - ONSET, since)

    def _forget(self) -> None:
        """Drop what no utterance to come will need; speech may still be noticed late, features want some context."""
        since = self._speech.open_since if self._speech is not None else None
        margin = max((ear.margin for ear in self._tools.ears.values()), default=0.0)
        needed = min(self._cutter.needed_since, self.position if since is None else since) - max(1.0, margin)
        self._sound.forget(needed)
        self._faces.forget(needed)
        if self._words and self._words[0].end < needed - 60:
            self._words = [w for w in self._words if w.end >= needed]

    def _utterance(self, segment: Segment) -> Utterance:
        self._tell_progress()  # thousands of utterances may end at the same time, and whoever waits may have gone
        start, end = segment.start, segment.end
        if not segment.text:
            while self._transcripts and (not self._live or self._transcripts[0].done()):
                self._write_down()
            words = tuple(w for w in self._words if start <= (w.start + w.end) / 2 < end)
            segment = replace(segment, text=" ".join(w.text for w in words), words=words)
        found = {**self._heard(start, end), **self._looked(start, end)}
        by_words = self._tools.extraction.align == "words"
        if by_words and segment.text and not segment.words:
            found = {name: (None, why or UNTIMED) for name, (_, why) in found.items()}
        absent = {name: why for name, (_, why) in found.items() if why}
        self._utterances += 1
        for reason in absent.items():
            self._absent.setdefault(reason, []).append(start)
        tracks = {name: track for name, (track, _) in found.items() if track is not None}
        if by_words:
            tracks = {n: _by_words(t, segment.words) for n, t in tracks.items()}
        if self._tools.reader is not None and segment.text:
            tracks["text"] = self._understood(self._tools.reader, segment)
        return Utterance(segment, {n: t for n, t in tracks.items() if len(t)}, absent)

    def _understood(self, reader: Reader, segment: Segment) -> Track:
        """Return the states of what is said; when a token is said is not known: they are spread evenly."""
        states = self._timed("text", lambda: reader.read(segment.text))
        return Track(np.linspace(segment.start, segment.end, len(states), endpoint=False), states)

    def _heard(self, start: float, end: float) -> dict[str, tuple[Track | None, str]]:
        """Return what every ear makes of the sound from ``start`` to ``end``; None, and why, where it is dead."""
        found: dict[str, tuple[Track | None, str]] = {}
        for name, ear in self._tools.ears.items():
            heard = self._sound.between(start - ear.margin, end + ear.margin)
            if is_silence(heard.cut(start, end).values):
                found[name] = (None, "the sound is digital silence")
                continue
            track = self._timed("audio", partial(ear.describe, heard.values, heard.time))
            found[name] = (track if ear.kind == "vector" else track.cut(start, end), "")
        return found

    def _looked(self, start: float, end: float) -> dict[str, tuple[Track | None, str]]:
        """Return the faces from ``start`` to ``end`` as each of ``sights`` has them; None, and why, where none is."""
        kinds = self._tools.extraction.streams("vision")
        found: dict[str, tuple[Track | None, str]] = {}
        for name, sight in self._tools.sights.items():
            faces, why = self._faces.track(start, end, crops=kinds[name] != FACE)
            seen = faces if sight is None or faces is None else self._timed("vision", partial(sight.describe, faces))
            found[name] = (seen, why)
        return found

    @property
    def shares(self) -> dict[str, float]:
        """See the class."""
        found = {"face": self._faces.share} if self._faces.share is not None else {}
        if self._speech is not None and self.position:
            found["speech"] = min(1.0, self._spoken / self.position)
        return found

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; add its time to ``stage``."""
        began = time.perf_counter()
        result = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
        return result


def _by_words(track: Track, words: Sequence[Word]) -> Track:
    from polymodal.media.words.align import align_to_words

    return Track(np.array([(w.start + w.end) / 2 for w in words]), align_to_words(track, words))


class _AtOnce(Executor):
    """Runs what it is given before it returns; for one thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Return a future that is done."""
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
