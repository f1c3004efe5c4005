"""One clip extracted: what a worker does."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.core import DataError, Modality, PolymodalError
from polymodal.core.limits import limit_memory, out_of_memory, too_much_memory
from polymodal.media.extraction import Extraction
from polymodal.media.folder.manifest import Row
from polymodal.media.folder.parts import Features, write_part
from polymodal.media.types import Segment, Track, Utterance

if TYPE_CHECKING:
    from polymodal.media.pipeline import Pipeline

FORMAT = 2
"""Increased when parts of an older version must not be used any more."""

FAULTS = (PolymodalError, ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, ValueError)
"""What decoders and extractors raise for a clip they cannot use; a defect in our code is something else and must stop
the job."""

CUT = 0.5
"""Seconds by which an utterance may end after its clip without a note."""


@dataclass(frozen=True)
class Job:
    """What is the same for all clips.

    Attributes:
        make: makes the pipeline, called as ``make(extraction, assets=assets, asr_device=asr_device)`` once per process.
        memory: MiB that a process may take beyond what it holds with the pipeline; 0 for any.
    """

    extraction: Extraction
    assets: str | None
    make: Callable[..., Pipeline]
    asr_device: str = "cpu"
    memory: int = 0


@dataclass(frozen=True)
class Task:
    """A clip to be extracted into the file ``part``; ``key`` changes whenever the result may."""

    rows: tuple[Row, ...]
    part: Path
    key: str

    @property
    def clip(self) -> str:
        """Path relative to the manifest."""
        return self.rows[0].clip


@dataclass(frozen=True)
class Facts:
    """What a pipeline turned out to be on this machine."""

    extraction: Extraction
    modalities: tuple[Modality, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    trained_on: dict[str, tuple[str, ...]]


@cache
def _pipeline(job: Job) -> Pipeline:
    pipeline = job.make(job.extraction, assets=job.assets, asr_device=job.asr_device)
    if torch := sys.modules.get("torch"):  # loaded before this process became single-threaded
        torch.set_num_threads(1)
    limit_memory(job.memory)
    return pipeline


def facts(job: Job) -> Facts:
    """Return what is extracted in fact, and with what."""
    pipeline = _pipeline(job)
    return Facts(
        pipeline.extraction, pipeline.modalities, pipeline.notes, dict(pipeline.versions), dict(pipeline.trained_on)
    )


def work(job: Job, task: Task) -> str:
    """Write the part of a clip; return why there is none, an empty string if there is.

    Raises:
        DataError: the part cannot be written.
    """
    pipeline = _pipeline(job)
    try:
        about, features = _extract(pipeline, task)
    except FAULTS as error:
        if out_of_memory(error):
            return str(too_much_memory(task.clip, job.memory))
        return str(error) if isinstance(error, PolymodalError) else f"{type(error).__name__}: {error}"
    write_part(task.part, {"key": task.key, **about}, features)
    return ""


def part_key(rows: Sequence[Row], found: Facts) -> str:
    """Return a digest of all that decides the features of a clip: files, times, texts, extractors; not its labels.

    Raises:
        DataError: a file that has gone.
    """
    files = {f for r in rows for f in (r.path, r.transcript, *r.features.values()) if f is not None}
    told = [[r.start, r.end, r.text, r.speaker, str(r.transcript), sorted(map(str, r.features.items()))] for r in rows]
    try:
        stats = [[str(f), (stat := f.stat()).st_size, stat.st_mtime_ns] for f in sorted(files)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    whole = [FORMAT, stats, told, found.extraction.to_dict(), sorted(found.versions.items())]
    return sha256(json.dumps(whole).encode()).hexdigest()


def _extract(pipeline: Pipeline, task: Task) -> tuple[dict[str, Any], list[Features]]:
    """Return what is known of the clip and its utterances, in the order of the manifest, and their features."""
    planned = _plan(task.rows, pipeline.extraction)
    segments = None if planned is None else [segment for _, segment in planned]
    with pipeline.read(task.rows[0].path, name=task.clip, segments=segments) as reading:
        utterances = list(reading)
    tracks = _tracks(task.rows, pipeline.extraction)
    # A pipeline yields given segments in the order of their ends, as they were planned.
    owners = [0] * len(utterances) if planned is None else [row for row, _ in planned]
    found: list[tuple[dict[str, Any], Features]] = []
    rejected, notes, counts = [], list(reading.notes), [0] * len(task.rows)
    for i in sorted(range(len(utterances)), key=lambda i: (owners[i], utterances[i].segment.start)):
        owner, segment = owners[i], utterances[i].segment
        values = _features(pipeline, utterances[i], tracks[owner])
        wanted = segment.end if segments is None else segments[i].end
        if segment.start < segment.end < wanted - CUT and wanted < math.inf:
            notes.append(f"{task.rows[owner].id} ends at {wanted:g} s, {_after(segment.end)}")
        if segment.end <= segment.start:
            rejected.append(f"{task.rows[owner].id} starts at {segment.start:g} s, {_after(reading.position)}")
        elif not values:
            rejected.append(f"nothing was found from {segment.start:g} to {segment.end:g} s")
        else:
            found.append((_about(owner, counts[owner], segment, values), values))
        counts[owner] += 1
    if not found:
        raise DataError("; ".join([rejected[0] if rejected else "there is no utterance in it", *notes]))
    about = {
        "utterances": [utterance for utterance, _ in found],
        "rejected": rejected,
        "notes": notes,
        "seconds": reading.position,
        "stages": reading.seconds,
        "shares": reading.shares,
    }
    return about, [values for _, values in found]


def _after(end: float) -> str:
    return f"after the end of the clip at {end:g} s"


def _plan(rows: Sequence[Row], extraction: Extraction) -> list[tuple[int, Segment]] | None:
    """Return row numbers and the segments to cut, in the order of their ends; None where the pipeline finds them."""
    planned: list[tuple[int, Segment]] = []
    rule = extraction.utterances
    for i, row in enumerate(rows):
        told = _transcript(row)
        if told and extraction.align == "words" and not any(s.words for s in told):
            raise DataError(
                f"the transcript of {row.clip} says which words, not when; give one with times of words (.TextGrid, "
                ".json), or have the clip transcribed with --columns transcript=none"
            )
        if row.start is not None or row.end is not None or rule == "clip":
            planned.append((i, _whole(row, told)))
        elif rule == "transcript" and told is not None:
            planned += [(i, segment) for segment in told]
        elif rule == "transcript":
            raise DataError(f"{row.clip} has no transcript; give one, or cut it by speech, windows or clip")
    return sorted(planned, key=lambda p: p[1].end) if planned else None


def _transcript(row: Row) -> list[Segment] | None:
    if row.transcript is None:
        return None
    from polymodal.media.words.transcripts import read_transcript

    return read_transcript(row.transcript)


def _whole(row: Row, told: Sequence[Segment] | None) -> Segment:
    """Return the row as one segment with its text, or with what its transcript has of it."""
    start, end = row.start or 0.0, math.inf if row.end is None else row.end
    inside = [s for s in told or () if start <= (s.start + s.end) / 2 < end]
    words = tuple(w for s in told or () for w in s.words if start <= (w.start + w.end) / 2 < end)
    # Where words have times, a segment of the transcript may be in part outside.
    spoken = " ".join(w.text for w in words) if words else " ".join(s.text for s in inside)
    return Segment(start, end, row.text or spoken, words, row.speaker)


def _tracks(rows: Sequence[Row], extraction: Extraction) -> list[dict[str, Track]]:
    """Return the tracks of each row that are read from files instead of extracted."""
    from polymodal.media.folder.readers import read_track

    wanted = [name for name in ("audio", "vision") if getattr(extraction, name) == "file"]
    read = {path: read_track(path)[0] for row in rows for name, path in row.features.items() if name in wanted}
    return [{name: read[row.features[name]] for name in wanted if name in row.features} for row in rows]


def _features(pipeline: Pipeline, utterance: Utterance, tracks: dict[str, Track]) -> Features:
    """Return what ``build_split`` takes, for each modality that is present."""
    from polymodal.media.pipeline import feature_row
    from polymodal.media.words.align import align_to_words

    found = {m.name: feature_row(utterance, m) for m in pipeline.modalities}
    for name, track in tracks.items():
        segment = utterance.segment
        if pipeline.extraction.align == "words":
            found[name] = align_to_words(track, segment.words)
        else:  # one step describes the whole
            found[name] = track.values if len(track) == 1 else track.cut(segment.start, segment.end).values
    return {
        name: value
        for name, value in found.items()
        if value is not None and (isinstance(value, str) or (len(value) and np.isfinite(value).any()))
    }


def _about(owner: int, number: int, segment: Segment, values: Features) -> dict[str, Any]:
    return {
        "row": owner,
        "number": number,
        "start": segment.start,
        "end": segment.end,
        "speaker": segment.speaker,
        "text": segment.text,
        "words": [[w.text, w.start, w.end] for w in segment.words],
        "shapes": {n: list(np.shape(v)) for n, v in values.items() if not isinstance(v, str)},
    }
