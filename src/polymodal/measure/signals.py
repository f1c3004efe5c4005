"""A clip as series of numbers: read once, in pieces, and kept small (about 14 MB per hour)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.measure import face, voice
from polymodal.measure.face import Face, describe_face, reduced
from polymodal.measure.grid import Span
from polymodal.measure.speaking import STEP, pauses, speaking
from polymodal.measure.voice import SILENCE, Voice
from polymodal.media.clip.decode import Media
from polymodal.media.extraction import AS_RECORDED, Extraction, Recogniser
from polymodal.media.pipeline import Pipeline
from polymodal.media.reading import Reading
from polymodal.media.types import Ear, Segment, Utterance, Word

if TYPE_CHECKING:
    from polymodal.media.pretrained.sight import Sight
    from polymodal.media.pretrained.words import Reader as TextReader
    from polymodal.media.words.transcribe import Transcriber

PIECE = 20.0
"""Seconds that are described at once."""

LONGEST = 4 * 3600.0
"""Seconds that a clip is taken to last where its container does not say; what follows is described as one piece."""


@dataclass(frozen=True)
class Signals:
    """A clip that has been read.

    Attributes:
        name: of the clip.
        duration: seconds.
        voice: (n, len(voice.CHANNELS)) float32 every 10 ms; None where nothing can be heard.
        face: None where the clip has no picture, or nobody looked.
        stretches: where a voice was found.
        spoken, silent: when somebody speaks, and pauses.
        words: with times, as far as known.
        notes: what is missing or was found wrong, one sentence each.
        versions: name of an extractor -> its version.
        seconds: stage -> seconds of work.
    """

    name: str
    duration: float
    voice: Array | None
    face: Face | None
    stretches: tuple[Span, ...]
    spoken: tuple[Span, ...]
    silent: tuple[Span, ...]
    words: tuple[Word, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    seconds: dict[str, float]

    def stream(self, name: str) -> tuple[Array, float] | None:
        """Return one of ``STREAMS`` and its step in seconds; None where it is absent."""
        if name in voice.CHANNELS:
            return None if self.voice is None else (self.voice[:, voice.CHANNELS.index(name)], STEP)
        return None if self.face is None else (self.face.series[:, face.CHANNELS.index(name)], face.STEP)


STREAMS = ("loudness", "level", "f0", *(name for name in face.CHANNELS))
"""What can be laid beside each other."""


@dataclass
class _Tools:
    """What reads the clip; see ``media.reading.Tools``."""

    extraction: Extraction
    ears: dict[str, Ear]
    sights: dict[str, Sight | None]
    face_model: Path | None
    transcriber: Transcriber | None
    threads: int
    reader: TextReader | None = None


class Reader:
    """Reads clips into signals; what is costly to load is loaded once.

    Args:
        assets: folder with the face model and weights of speech recognition.
        threads: with 2 or more, faces are looked for beside decoding.
        recogniser: of speech; None: nothing is transcribed.

    Raises:
        OptionError: an extractor is not installed, or the recogniser cannot be had.
    """

    def __init__(
        self, *, assets: str | Path | None = None, threads: int = 2, recogniser: Recogniser | None = None
    ) -> None:
        asked = Extraction(audio="none", vision="face", text="given")
        asked = asked if recogniser is None else recogniser.applied(asked)
        device = (recogniser or AS_RECORDED).device
        self.pipeline = Pipeline(asked, assets=assets, threads=threads, asr_device=device)

    def read(self, clip: str | Path, *, gap: float, progress: Callable[[float], None] | None = None) -> Signals:
        """Return the signals of ``clip``.

        Args:
            gap: seconds of silence that end a turn.
            progress: called with the seconds of the clip that are done.

        Raises:
            DataError: the clip cannot be read, or has neither sound nor a face.
        """
        began = time.perf_counter()
        heard, pipeline = Voice(), self.pipeline
        tools = _Tools(
            pipeline.extraction,
            {"audio": heard},
            pipeline.sights,
            pipeline.face_model,
            pipeline.transcriber,
            pipeline.threads,
        )
        with Media(clip) as media:
            info = media.info
        gathered = _Gathered()
        with Reading(
            tools,
            clip,
            name=info.name,
            segments=_pieces(info.duration),
            utterances="clip",
            rolling=None,
            progress=progress,
        ) as reading:
            for piece in reading:
                gathered.add(piece)
        duration = max(reading.position, 0.01)
        series = gathered.voice(duration) if info.has_audio else None
        looked = info.has_video and pipeline.face_model is not None
        notes = [*pipeline.notes, *reading.notes]
        if series is None and not gathered.times:
            raise DataError(f"{info.name} cannot be measured: {'; '.join(notes) or 'it is silent and shows no face'}")
        stretches = tuple((s.start, s.end) for s in heard.finish()) if series is not None else ()
        spoken = speaking(series[:, voice.CHANNELS.index("level")], stretches, gap) if series is not None else []
        seconds = {name: round(s, 3) for name, s in reading.seconds.items()}
        return Signals(
            name=info.name,
            duration=round(duration, 3),
            voice=series,
            face=describe_face(*gathered.face(), duration) if looked else None,
            stretches=stretches,
            spoken=tuple(spoken),
            silent=tuple(pauses(spoken, gap)),
            words=tuple(gathered.words),
            notes=tuple(dict.fromkeys(notes)),
            versions=pipeline.versions | {"audio": heard.version},
            seconds=seconds | {"total": round(time.perf_counter() - began, 3)},
        )


def _pieces(duration: float | None) -> Sequence[Segment]:
    count = max(1, math.ceil((LONGEST if duration is None else duration) / PIECE))
    return [Segment(i * PIECE, (i + 1) * PIECE if i < count - 1 else math.inf) for i in range(count)]


class _Gathered:
    """What the pieces of a clip leave behind."""

    def __init__(self) -> None:
        self.times: list[Array] = []
        self.words: list[Word] = []
        self._faces: list[Array] = []
        self._heard: list[tuple[Array, Array]] = []
        self._dead: list[Span] = []

    def add(self, piece: Utterance) -> None:
        self.words += piece.segment.words
        if (sound := piece.tracks.get("audio")) is not None:
            self._heard.append((np.round(sound.times / STEP).astype(np.int64), sound.values))
        elif "audio" in piece.absent:
            self._dead.append((piece.segment.start, piece.segment.end))
        if (seen := piece.tracks.get("vision")) is not None:
            found = seen.values[:, -1] > 0
            self.times.append(seen.times[found])
            self._faces.append(reduced(seen.values[found]))

    def voice(self, duration: float) -> Array | None:
        """Return all that was heard, NaN where there was nothing; None where there was nothing at all."""
        if not self._heard:
            return None
        series: Array = np.full((math.ceil(duration / STEP), len(voice.CHANNELS)), np.nan, np.float32)
        for start, end in self._dead:
            series[round(start / STEP) : round(end / STEP), -1] = SILENCE
        for rows, values in self._heard:
            inside = rows < len(series)
            series[rows[inside]] = values[inside]
        return series

    def face(self) -> tuple[Array, Array]:
        """Return the times and channels of the frames with a face."""
        if not self.times:
            return np.zeros(0), np.zeros((0, len(face.CHANNELS) - 1), np.float32)
        return np.concatenate(self.times), np.concatenate(self._faces)
