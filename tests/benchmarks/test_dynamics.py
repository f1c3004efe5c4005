"""The planted corpus of benchmarks/dynamics.py holds what it says, and the script measures what it says."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from polymodal.core import numpy_rng
from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def dynamics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("dynamics", "measure", "planted"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import dynamics

    return dynamics


def towards(name: str) -> np.ndarray:
    """The directions of the classes."""
    found = numpy_rng("towards", name).standard_normal((4, 8))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def corpus() -> Corpus:
    return load_corpus(f"{FOLDER}/planted.py:speeds?seed=5&n=700")


def test_both_modalities_tell_the_class_but_only_one_at_once(corpus: Corpus) -> None:
    split = corpus["test"]
    kind, rows = split.targets["kind"], range(len(split))
    fast = np.stack([split.columns["fast"][i] for i in rows]).reshape(len(kind), 8)
    assert ((fast @ towards("fast").T).argmax(1) == kind).mean() > 0.93
    slow = np.stack([split.columns["slow"][i] for i in rows])
    pairs = slow[:, :-1] + slow[:, 1:]  # two steps of an event
    said = (pairs @ towards("slow").T).max(1).argmax(1)
    assert (said == kind).mean() > 0.75
    assert ((slow.mean(1) @ towards("slow").T).argmax(1) == kind).mean() < 0.7


def test_a_step_costs_something(dynamics: ModuleType) -> None:
    found = dynamics.cost("late-fusion", {"width": 8}, rounds=1)
    assert found.keys() == {"late-fusion", *dynamics.AROUND}
    assert found["late-fusion"] == pytest.approx(1)
    assert found["mcr"] > 1


def test_the_table_has_a_line_for_what_was_measured(dynamics: ModuleType) -> None:
    row = {"all": [0.9, 0.8], "slow alone": [0.5, 0.5], "probe of slow": [0.6, 0.7]}
    text = dynamics.table({"mcr": row, "cost": {"mmcl": dict.fromkeys(dynamics.AROUND, 1.5)}})
    assert "| mcr | 0.850 +- 0.071 | 0.500 +- 0.000 | 0.650 +- 0.071 |" in text
    assert "| mmcl | 1.50 | 1.50 | 1.50 | 1.50 |" in text
    assert "agm |" in text
    assert "| iemf |" not in text.split("## Cost")[0]


@pytest.mark.slow
def test_a_trial_learns(dynamics: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("epochs", 8), ("lr", 1e-2)):
        monkeypatch.setitem(dynamics.TRAINING, name, value)
    found = dynamics.learned("agm", 1, 200)
    assert found["all"] > 0.5
    assert 0.2 < found["probe of slow"] <= 1
