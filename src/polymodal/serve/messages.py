"""What a service and its worker processes say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from polymodal.core.limits import Limits


@dataclass(frozen=True)
class Task:
    """One request.

    Attributes:
        run: what clients are told of the run; its path is nobody's business.
        name: what the client calls the clip.
        clip, rows: file with a clip, or with JSON features; one of them.
        transcript, utterances: as ``Predictor.predict``.
        longest: seconds that a clip may last.
        most: rows that there may be.
    """

    run: str
    name: str
    clip: Path | None = None
    rows: Path | None = None
    transcript: Path | None = None
    utterances: str | None = None
    longest: float = float("inf")
    most: int = Limits.rows


@dataclass(frozen=True)
class Cancel:
    """To a worker: give up what you are doing."""


@dataclass(frozen=True)
class Ready:
    """From a worker: loaded."""


@dataclass(frozen=True)
class Progress:
    """From a worker: ``seconds`` of a clip of ``duration`` (None if not known) are done."""

    seconds: float
    duration: float | None


@dataclass(frozen=True)
class Answer:
    """From a worker: a timeline as JSON, the seconds of media in it, and seconds of work per stage."""

    body: bytes
    duration: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """From a worker: the task cannot be done, in a sentence for the client; ``status`` is of HTTP."""

    status: int
    sentence: str


@dataclass(frozen=True)
class Crash:
    """From a worker: a defect; ``report`` is for the log. Also what the pool says of a worker that died."""

    report: str


Message = Ready | Progress | Answer | Failure | Crash
