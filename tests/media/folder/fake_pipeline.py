"""A pipeline whose clips are JSON files, so that tests decide what is in a clip and what happens when it is read."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from polymodal.core import DataError, Modality, OptionError
from polymodal.media.extraction import Extraction
from polymodal.media.face.crops import SHAPE
from polymodal.media.types import Segment, Track, Utterance, Word

RATE = 10
"""Steps per second."""


class FakePipeline:
    """Two audio features per step: its time and the clip's number; text; one vector or two crops per utterance."""

    def __init__(self, extraction: Extraction, *, assets: str | None = None, asr_device: str = "cpu") -> None:
        if assets and Path(assets).name == "none":
            raise OptionError("nothing can be extracted here")
        self.extraction = replace(extraction, text="given" if extraction.text == "auto" else extraction.text)
        sounds = [Modality("audio", "sequence", 2)] if extraction.audio not in ("none", "file") else []
        self.modalities = (
            *([Modality("text", "text")] if extraction.text != "none" else []),
            *sounds,
            *([Modality("vision", "vector", 1)] if extraction.vision == "face" else []),
            *([Modality("vision", "frames", shape=SHAPE)] if extraction.vision == "crops" else []),
        )
        self.notes = ("nobody transcribes",)
        self.versions = {"audio": f"fake {assets}"}
        self.trained_on: dict[str, tuple[str, ...]] = {}

    def read(self, source: Path, *, name: str, segments: Sequence[Segment] | None) -> FakeReading:
        clip = json.loads(source.read_text())
        with (source.parent / "read.log").open("a") as log:
            log.write(f"{source.name}\n")
        happen(clip, name, source)
        return FakeReading(self, clip, segments)


def happen(clip: dict[str, Any], name: str, source: Path) -> None:
    """Do what the clip says."""
    time.sleep(clip.get("sleep", 0))
    if clip.get("bad"):
        raise DataError(f"{name} is not a clip")
    if clip.get("odd"):
        raise RuntimeError("decoder gave up")
    if clip.get("defect"):
        raise TypeError("defect")
    if clip.get("spoil"):
        shutil.rmtree(clip["spoil"])
    if clip.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if clip.get("die once") and not (mark := source.with_suffix(".died")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class FakeReading:
    """See ``polymodal.media.reading.Reading``."""

    def __init__(self, pipeline: FakePipeline, clip: dict[str, Any], segments: Sequence[Segment] | None) -> None:
        self._pipeline, self._clip = pipeline, clip
        self.position = float(clip["seconds"])
        if segments is None:
            count = math.ceil(self.position / pipeline.extraction.window)
            segments = [Segment(i * pipeline.extraction.window, math.inf) for i in range(count)]
            segments = [replace(s, end=s.start + pipeline.extraction.window) for s in segments]
        self._segments = sorted(segments, key=lambda s: s.end)
        self.notes: list[str] = []
        self.seconds = {"decode": 0.5}
        self.shares = {"face": 0.25} if clip.get("face") else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Utterance]:
        for segment in self._segments:
            segment = replace(segment, end=max(segment.start, min(segment.end, self.position)))
            times = np.arange(math.ceil(segment.start * RATE), math.ceil(segment.end * RATE)) / RATE
            tracks = {}
            if not self._clip.get("silent"):
                values = np.stack([times, np.full(len(times), self._clip["number"])], axis=1)
                tracks["audio"] = Track(times, values.astype(np.float32))
            if self._clip.get("face") and self._pipeline.extraction.vision == "crops":
                tracks["vision"] = Track(times[:2], np.full((2, *SHAPE), self._clip["number"], np.uint8))
            elif self._clip.get("face"):
                tracks["vision"] = Track(times[:1], np.full((1, 1), self._clip["number"], np.float32))
            if self._clip.get("says") and not segment.text:
                word = Word(self._clip["says"], segment.start, segment.end)
                segment = replace(segment, text=word.text, words=(word,))
            yield Utterance(segment, tracks)
        self.notes += self._clip.get("notes", [])
