"""Planted corpora in which a behaviour can be told from its absence; see behaviours.py and dynamics.py.

    polymodal data info "benchmarks/planted.py:views?seed=1"

Drawn anew for each seed; how factors show in channels is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import Modality, Schema, Target, numpy_rng
from polymodal.data.corpus import Corpus
from polymodal.data.split import build_split

FILE = Path(__file__)
NAMES = ("a", "b", "c")
SIZES = {"train": 1000, "valid": 300, "test": 600}
SCORE = Target("score", "regression", (-3, 3))
KIND = Target("kind", "classification", classes=("north", "east", "south", "west"))
SIGNAL, NOISE = slice(0, 4), slice(4, 16)


def views(seed: int = 0, n: int = SIZES["train"]) -> Corpus:
    """Three noisy views, four steps each, of one factor, which is the label."""
    mixing = {m: numpy_rng("mixing", m).standard_normal(4) for m in NAMES}

    def draw(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], Any]:
        factor = rng.standard_normal(rows)
        readings = {m: factor + 0.5 * rng.standard_normal(rows) for m in NAMES}
        seen = {m: r[:, None, None] * mixing[m] + 0.3 * rng.standard_normal((rows, 4, 4)) for m, r in readings.items()}
        return seen, factor

    return _corpus("views", tuple(Modality(m, "sequence", 4) for m in NAMES), draw, seed, n)


def noisy(seed: int = 0, n: int = SIZES["train"]) -> Corpus:
    """``mixed``: the label in four noisy copies and twelve channels of noise; ``noise``: nothing but noise."""

    def draw(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], Any]:
        factor, mixed = rng.standard_normal(rows), rng.standard_normal((rows, 16))
        mixed[:, SIGNAL] = factor[:, None] + 0.5 * mixed[:, SIGNAL]
        return {"mixed": mixed, "noise": rng.standard_normal((rows, 16))}, factor

    return _corpus("noisy", (Modality("mixed", "vector", 16), Modality("noise", "vector", 16)), draw, seed, n)


def factors(seed: int = 0, n: int = SIZES["train"]) -> Corpus:
    """Two factors, read by each of three modalities with its own errors; the label is a sum of both."""
    mixing = {m: numpy_rng("directions", m).standard_normal((2, 10)) for m in NAMES}

    def draw(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], Any]:
        both = rng.standard_normal((rows, 2))
        readings = {m: both + 0.6 * rng.standard_normal((rows, 2)) for m in NAMES}
        seen = {m: r @ mixing[m] + 0.1 * rng.standard_normal((rows, 10)) for m, r in readings.items()}
        return seen, both[:, 0] + 0.5 * both[:, 1]

    return _corpus("factors", tuple(Modality(m, "vector", 10) for m in NAMES), draw, seed, n)


def speeds(seed: int = 0, n: int = SIZES["train"]) -> Corpus:
    """One of four classes, told about equally well by two modalities: ``fast``, a vector with a direction for each
    class, and ``slow``, twelve steps of noise with an event of two steps somewhere, whose direction is the class's."""
    towards = {m: numpy_rng("towards", m).standard_normal((4, 8)) for m in ("fast", "slow")}
    towards = {m: 8**0.5 * d / np.linalg.norm(d, axis=1, keepdims=True) for m, d in towards.items()}

    def draw(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], Any]:
        kind = rng.integers(4, size=rows)
        fast = 1.2 * towards["fast"][kind] + rng.standard_normal((rows, 8))
        slow, moment = rng.standard_normal((rows, 12, 8)), rng.integers(11, size=rows)
        for late in (0, 1):
            slow[np.arange(rows), moment + late] += 0.85 * towards["slow"][kind]
        return {"fast": fast, "slow": slow}, kind

    return _corpus("speeds", (Modality("fast", "vector", 8), Modality("slow", "sequence", 8)), draw, seed, n, KIND)


def _corpus(
    name: str,
    modalities: tuple[Modality, ...],
    draw: Callable[..., Any],
    seed: int,
    n: int,
    target: Target = SCORE,
) -> Corpus:
    schema, splits = Schema(modalities, (target,)), {}
    for part, most in SIZES.items():
        rows = n if part == "train" else min(most, n)
        seen, label = draw(numpy_rng("behaviours", name, seed, part), rows)
        columns = {m: list(x.astype(np.float32)) for m, x in seen.items()}
        ids = [f"{part}-{i}" for i in range(rows)]
        known = label if target is KIND else label.clip(-3, 3).astype(np.float32)
        splits[part] = build_split(schema, ids, columns, {target.name: known})
    return Corpus(name, f"{FILE}:{name}?seed={seed}&n={n}", schema, splits)
