"""Runs trained on features that say how they were made, and a pipeline that reads clips written as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from polymodal import Corpus, Run, fit
from polymodal.core import DataError, Modality, OptionError, Schema, Target
from polymodal.data.split import build_split
from polymodal.media.extraction import Extraction
from polymodal.media.types import ClipInfo, Segment, Track, Utterance, Word

MODALITIES = {
    "text": Modality("text", "text"),
    "audio": Modality("audio", "sequence", 3),
    "sound": Modality("audio", "sequence", 42),  # what logmel makes
    "vision": Modality("vision", "sequence", 2),
}
TARGETS = {
    "sentiment": Target("sentiment", "regression", (-3.0, 3.0)),
    "emotion": Target("emotion", "classification", classes=("anger", "joy", "neutral")),
    "tags": Target("tags", "multilabel", classes=("humour", "sarcasm")),
}
WORDS = ("bad", "awful", "so", "fine", "good", "great")
SIZES = {"train": 60, "valid": 40, "test": 40}

MakeRun = Callable[..., Run]
MakeClip = Callable[..., Path]


def corpus(schema: Schema, extraction: dict[str, Any] | None = None, valid: int = 40) -> Corpus:
    """Return samples whose words, loudness and faces all tell the label, each with noise."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, size in (SIZES | {"valid": valid}).items():
        mood = rng.uniform(-1, 1, size)
        heard: dict[str, list[Any]] = {
            "text": [" ".join(WORDS[int(i)] for i in np.clip((m + rng.normal(0, 0.3, 3) + 1) * 3, 0, 5)) for m in mood],
        }
        for m in schema.modalities:
            if m.kind != "text":
                heard[m.name] = [v + rng.normal(0, 1, (int(rng.integers(3, 9)), m.width)) for v in mood]
        noise = rng.normal(0, 0.2, size)
        labels = {
            "sentiment": np.clip(3 * mood + noise, -3, 3),
            "emotion": np.digitize(mood + noise, [-0.3, 0.3]),
            "tags": np.stack([mood + noise > 0, mood - noise < -0.2], axis=1).astype(float),
        }
        columns = {m.name: heard[m.name] for m in schema.modalities}
        splits[name] = build_split(
            schema, [f"{name}{i}" for i in range(size)], columns, {t.name: labels[t.name] for t in schema.targets}
        )
    return Corpus("moods", "made", schema, splits, extraction=extraction)


def _described(options: dict[str, Any]) -> dict[str, Any]:
    """Return what a store made by extraction says of itself."""
    return {"options": Extraction(**options).to_dict(), "versions": {}, "modalities": ["text", "audio", "vision"]}


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """``make_run(modalities, targets, extraction=options or None, method, seeds, encode, valid, folds)`` -> Run.

    Names of modalities and targets are joined by commas; the same arguments give the same folder.
    """
    made: dict[str, Run] = {}

    def make(
        modalities: str = "text,audio,vision",
        targets: str = "sentiment",
        *,
        extraction: dict[str, Any] | None = None,
        method: str = "linear",
        seeds: tuple[int, ...] = (1,),
        encode: dict[str, str] | None = None,
        valid: int = 40,
        folds: int | None = None,
    ) -> Run:
        key = repr((modalities, targets, extraction, method, seeds, encode, valid, folds))
        if key not in made:
            schema = Schema(
                tuple(MODALITIES[m] for m in modalities.split(",")), tuple(TARGETS[t] for t in targets.split(","))
            )
            told = None if extraction is None else _described(extraction)
            made[key] = fit(
                method,
                corpus(schema, told, valid),
                options={} if method == "linear" else {"width": 4},
                epochs=2,
                seeds=seeds,
                folds=folds,
                encode=encode,
                out=tmp_path_factory.mktemp("run") / "run",
            )
        return made[key]

    return make


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    """A run on text, audio and vision made by extraction, with a regression target."""
    return make_run(extraction={})


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs find the corpus that they were trained on."""
    from polymodal.train import run as module

    load = module.load_corpus

    def found(source: Any) -> Corpus:
        return load(made[-1] if source == "made" else source)

    made: list[Corpus] = []
    opened = Run.corpus

    def own(self: Run, data: Any = None) -> Corpus:
        made.append(corpus(self.schema))
        return opened(self, data)

    monkeypatch.setattr(module, "load_corpus", found)
    monkeypatch.setattr(Run, "corpus", own)


@dataclass
class FakePipeline:
    """Reads clips that are JSON: ``{"duration", "utterances": [{"start", "end", "text", "audio": steps}]}``."""

    extraction: Extraction
    assets: Any = None
    threads: int = 1
    asr_device: str = "cpu"
    notes: tuple[str, ...] = ("transcribed by a fake",)

    def __post_init__(self) -> None:
        self.versions = {"text": f"fake {self.extraction.asr_model}"}
        if self.extraction.text == "faster-whisper":
            raise OptionError("faster-whisper has no weights here")
        widths = {"audio": (self.extraction.audio, 3), "vision": (self.extraction.vision, 2)}
        text = () if self.extraction.text == "none" else (MODALITIES["text"],)
        self.modalities = (*text, *(Modality(n, "sequence", w) for n, (how, w) in widths.items() if how != "none"))

    def read(self, source: Any, *, utterances: str, **options: Any) -> FakeReading:
        return FakeReading(self, source, utterances, **options)


class FakeReading:
    """Utterances of a JSON clip; of a stream, one per piece (a dictionary)."""

    def __init__(
        self,
        pipeline: FakePipeline,
        source: Any,
        mode: str,
        *,
        name: str | None = None,
        segments: Any = None,
        rolling: Any = None,
        progress: Any = None,
    ) -> None:
        self.pipeline, self.mode, self.segments, self.rolling = pipeline, mode, segments, rolling
        self.progress = progress or (lambda seconds: None)
        self.position, self.seconds, self.notes = 0.0, {"decode": 0.1}, []
        if not isinstance(source, str | Path | bytes) and not hasattr(source, "read"):
            self.content: Any = {"utterances": source}
            self.info = ClipInfo(name or "stream", None)
            return
        raw = source if isinstance(source, bytes) else source.read() if hasattr(source, "read") else _bytes(source)
        self.info = ClipInfo(name or (Path(source).name if isinstance(source, str | Path) else "clip"), None)
        try:
            self.content = json.loads(raw)
        except ValueError:
            raise DataError(f"{self.info.name} is no clip; give a video") from None
        self.info = replace(self.info, duration=self.content.get("duration"))
        self.notes += self.content.get("notes", [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        pass

    def __iter__(self) -> Iterator[Utterance]:
        told = self.content["utterances"]
        if self.mode == "clip":
            told = [{"start": 0.0, "end": self.content["duration"], **self.content.get("whole", {})}]
        elif self.segments is not None:
            told = [{"start": s.start, "end": s.end, "text": s.text, "audio": 4} for s in self.segments]
        for u in told:
            self.position = min(u["end"], self.content.get("duration", u["end"]))
            self.progress(self.position)
            words = tuple(Word(w, u["start"], u["end"]) for w in u.get("text", "").split())
            yield Utterance(Segment(u["start"], u["end"], u.get("text", ""), words), self._tracks(u))

    def _tracks(self, told: dict[str, Any]) -> dict[str, Track]:
        rng = np.random.default_rng(round(10 * told["start"]))
        made = [m for m in self.pipeline.modalities if m.kind != "text" and told.get(m.name)]
        return {
            m.name: Track(
                np.linspace(told["start"], told["end"], told[m.name]), rng.normal(0, 1, (told[m.name], m.width))
            )
            for m in made
        }


def _bytes(path: str | Path) -> bytes:
    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    return Path(path).read_bytes()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> type[FakePipeline]:
    """Everything that opens a pipeline gets a FakePipeline."""
    monkeypatch.setattr("polymodal.media.pipeline.Pipeline", FakePipeline)
    return FakePipeline


UTTERANCES = (
    {"start": 0.5, "end": 2.0, "text": "so great", "audio": 5, "vision": 6},
    {"start": 2.5, "end": 4.0, "text": "bad awful bad", "audio": 7},
    {"start": 5.0, "end": 7.0, "vision": 4},
)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """``make_clip(utterances, name, **about)`` -> a clip for FakePipeline."""

    def make(utterances: Any = UTTERANCES, name: str = "clip.mp4", duration: float = 8.0, **about: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"duration": duration, "utterances": list(utterances), **about}))
        return path

    return make
