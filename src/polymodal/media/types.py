"""What travels through media: pieces of a clip, tracks of features, words, utterances; all on one time axis.

Times are seconds on the clip's own axis: 0 is the container's first presentation time, whatever stream it is in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from polymodal.core import Kind
from polymodal.data.ragged import Array

RATE = 16_000
"""Samples per second of all audio inside media: mono, float32 in [-1, 1]."""

Source = str | Path | bytes | BinaryIO
"""A clip: a file, its content, or a seekable stream."""


@dataclass(frozen=True)
class Frame:
    """A video frame: ``image`` (height, width, 3) uint8 RGB, upright, shown at ``time``."""

    time: float
    image: Array


@dataclass(frozen=True)
class Samples:
    """Consecutive audio samples: ``values`` (n,) float32 mono at ``RATE``, the first one heard at ``time``."""

    time: float
    values: Array

    @property
    def end(self) -> float:
        """Time just after the last sample."""
        return self.time + len(self.values) / RATE

    def cut(self, start: float, end: float) -> Samples:
        """Return what is heard from ``start`` to ``end``, as far as it is there."""
        first = max(0, round((start - self.time) * RATE))
        last = max(first, round((end - self.time) * RATE))
        return Samples(self.time + first / RATE, self.values[first:last])


@dataclass(frozen=True)
class ClipInfo:
    """What a container says of itself.

    Attributes:
        name: file name, for messages.
        duration: seconds, None where the container does not say.
        fps: mean video frames per second, None without video.
        width, height: pixels as shown (after rotation), None without video.
        rate: samples per second of the audio as stored, None without audio.
    """

    name: str
    duration: float | None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    rate: int | None = None

    @property
    def has_video(self) -> bool:
        """Whether there is a video stream that can be decoded."""
        return self.fps is not None

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio stream that can be decoded."""
        return self.rate is not None


@dataclass(frozen=True)
class Track:
    """Features of one modality over time.

    Attributes:
        times: (steps,) float64, ascending: the instant that each step describes (the middle of its analysis window; a
            video frame's presentation time).
        values: (steps, width) float32; pictures are (steps, channels, height, width) uint8.
    """

    times: Array
    values: Array

    def __len__(self) -> int:
        return len(self.times)

    def cut(self, start: float, end: float) -> Track:
        """Return the steps with ``start <= time < end``."""
        first, last = np.searchsorted(self.times, (start, end))
        return Track(self.times[first:last], self.values[first:last])


class Ear(Protocol):
    """What turns sound into features.

    Attributes:
        kind: ``sequence``, or ``vector`` for one row per recording.
        width: features per step.
        version: of all that decides them.
        margin: seconds of sound wanted before and after a stretch for its steps to be those of the whole recording.
    """

    kind: Kind
    width: int
    version: str
    margin: float

    def describe(self, samples: Array, start: float) -> Track:
        """Return the features of ``samples`` (n,) at RATE, the first one heard at ``start`` seconds."""
        ...


@dataclass(frozen=True)
class Word:
    """A spoken word, from ``start`` to ``end``."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip to be judged as one: given by a transcript, or found by speech activity.

    Attributes:
        text: what is said; empty if not known.
        words: its words with times; empty if not known.
        speaker: who speaks; empty if not known.
    """

    start: float
    end: float
    text: str = ""
    words: tuple[Word, ...] = ()
    speaker: str = ""


@dataclass(frozen=True)
class Utterance:
    """A segment with its features.

    Attributes:
        tracks: modality -> its features; one without a track is absent.
        absent: modality -> why it is absent although the clip has its stream.
    """

    segment: Segment
    tracks: dict[str, Track] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
