"""A small data set in the formats of a hub, with class names, groups, features and sound."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value


def tone(hertz: float) -> bytes:
    """A second of a tone as WAV."""
    kept = io.BytesIO()
    with wave.open(kept, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((8000 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)).astype("<i2").tobytes())
    return kept.getvalue()


def part(size: int, first: int, **more: list[object]) -> Dataset:
    rng = np.random.default_rng(size)
    columns = {
        "sentence": [f"word {first + i}" for i in range(size)],
        "speaker": [f"s{first + i // 4}" for i in range(size)],
        "emotion": [i % 3 for i in range(size)],
        "arousal": [i / size for i in range(size)],
        "face": [rng.standard_normal((5 + i % 3, 4)).tolist() if i else None for i in range(size)],
        "still": [rng.standard_normal(3).tolist() for i in range(size)],
        "sound": [{"bytes": tone(200 + i), "path": f"x{i}.wav"} for i in range(size)],
    }
    features = Features(
        {
            "sentence": Value("string"),
            "speaker": Value("string"),
            "emotion": ClassLabel(names=["joy", "fear", "anger"]),
            "arousal": Value("float32"),
            "face": List(List(Value("float32"))),
            "still": List(Value("float32")),
            "sound": {"bytes": Value("binary"), "path": Value("string")},
        }
    )
    return Dataset.from_dict(columns | more, features=features).cast_column("sound", Audio())


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``save_to_disk`` writes it: train, test, and a split whose labels are hidden."""
    folder = tmp_path_factory.mktemp("hub") / "moods"
    splits = {"train": part(24, 0), "test": part(12, 100), "contest": part(5, 200, emotion=[-1] * 5)}
    DatasetDict(splits).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a repository on a hub holds it, one split."""
    folder = tmp_path_factory.mktemp("hub") / "moods"
    (folder / "data").mkdir(parents=True)
    part(24, 0).to_parquet(folder / "data/train-00000-of-00001.parquet")
    return folder


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
