"""Made files in the layouts of the field, so that no data need be copied."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests import pickle_bombs by its name

SIZES = {"train": 12, "valid": 4, "test": 5}
WIDTHS = {"mosi": (5, 20), "sims": (33, 709), "sims2": (25, 177)}  # (audio, vision)

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def _part(rng: np.random.Generator, split: str, rows: int, layout: str, aligned: bool) -> dict[str, Any]:
    steps = {"text": 9, "audio": 9, "vision": 9} if aligned else {"text": 9, "audio": 16, "vision": 13}
    audio, vision = WIDTHS[layout]
    widths = {"text": 16, "audio": audio, "vision": vision}
    words = rng.integers(3, 10, rows)
    lengths = {n: words if aligned else rng.integers(2, steps[n] + 1, rows) for n in ("audio", "vision")}
    lengths["text"] = words
    part: dict[str, Any] = {}
    for name in ("text", "audio", "vision"):
        values = rng.standard_normal((rows, steps[name], widths[name])).astype(np.float32)
        if name == "text":
            part[name] = values  # BERT states of padding are not zero
        else:
            part[name] = values * (np.arange(steps[name]) < lengths[name][:, None])[..., None]
    mask = (np.arange(steps["text"]) < words[:, None]).astype(np.float32)
    part["text_bert"] = np.stack([mask * 7, mask, mask * 0], axis=1)
    sentence = "很 好 {} {}" if layout != "mosi" else "very good {} {}"
    part["raw_text"] = np.array([sentence.format(split, i) for i in range(rows)])
    part["id"] = [f"{split}v{i // 2}$_${i}" for i in range(rows)]
    if not aligned:
        part["audio_lengths"], part["vision_lengths"] = lengths["audio"].tolist(), lengths["vision"].tolist()
    scale = 3 if layout == "mosi" else 1
    part["regression_labels"] = np.round(np.linspace(-scale, scale, rows), 1)
    part["classification_labels"] = np.sign(part["regression_labels"]) + 1
    part["annotations"] = ["x"] * rows
    if layout != "mosi":
        for letter in "TAV":
            part[f"regression_labels_{letter}"] = part["regression_labels"] * 0.5
    return part


@pytest.fixture(scope="session")
def make_mmsa() -> Make:
    """``make_mmsa(layout, aligned)``: the dictionary of an MMSA pickle; layout mosi, sims or sims2."""

    def make(layout: str = "mosi", aligned: bool = False) -> dict[str, Any]:
        rng = np.random.default_rng(7)
        data = {split: _part(rng, split, rows, layout, aligned) for split, rows in SIZES.items()}
        if layout == "sims2":
            data["train_mix"] = {**_part(rng, "mix", 6, layout, aligned), "mask": np.array([1, 1, 0, 0, 0, 0])}
            data["train_mix"]["regression_labels"][2:] = np.nan
        return data

    return make


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(data, name)``: pickle ``data`` to a file and return its path."""

    def to_file(data: object, name: str = "corpus.pkl", protocol: int = 4) -> Path:
        path = tmp_path / name
        path.write_bytes(pickle.dumps(data, protocol))
        return path

    return to_file


@pytest.fixture(scope="session")
def make_magbert() -> Make:
    """``make_magbert()``: the dictionary of a MAG-BERT pickle; ``prefix`` sets the segments' names."""

    def make(unique: bool = True) -> dict[str, Any]:
        rng = np.random.default_rng(3)
        data = {}
        for split, rows in {"train": 6, "dev": 3, "test": 3}.items():
            examples = []
            for i in range(rows):
                words = [f"{split}{i}", "is", "good"][: 1 + i % 3]
                vision, audio = rng.standard_normal((len(words), 47)), rng.standard_normal((len(words), 74))
                segment = f"{split}v{i // 2}[{i}]" if unique else f"{i}"
                examples.append(((words, vision, audio), np.array([[i - 2.0]]), segment))
            data[split] = examples
        return data

    return make
