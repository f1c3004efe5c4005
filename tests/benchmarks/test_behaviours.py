"""The measurements of benchmarks/behaviours.py, on tiny trainings and on numbers that are known."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def behaviours(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("behaviours", "planted", "measure", "verdicts"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import behaviours

    return behaviours


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["cyin", "mib", "umq"])
def test_every_rule_is_decided_and_explained(claim: str, behaviours: ModuleType, tmp_path: Path) -> None:
    from verdicts import RULES

    row = behaviours.CLAIMS[claim](1, tmp_path, n=40, changes={"epochs": 1})
    rules = {name.removeprefix("passes: ") for name in row if name.startswith("passes: ")}
    assert rules
    assert rules <= set(RULES)
    assert all(np.isfinite(value) for value in row.values())


def test_silenced_translators_change_nothing_on_complete_samples(behaviours: ModuleType, tmp_path: Path) -> None:
    data = f"{behaviours.PLANTED}:views?n=40"
    one = behaviours.Trained("cyin", data, 1, {**behaviours.CYIN, "epochs": 2}, tmp_path / "run")
    silent = behaviours.silenced(one.method)
    assert one.error(method=silent) == one.error()
    assert one.error("subset:a", method=silent) != one.error("subset:a")


def test_ranks_are_one_in_order_and_minus_one_against_it(behaviours: ModuleType) -> None:
    falling = np.linspace(1, 0, 7).reshape(-1, 1, 1).repeat(5, axis=1)
    assert behaviours._ranked(falling) == pytest.approx(1)
    assert behaviours._ranked(falling[::-1]) == pytest.approx(-1)


def test_a_rule_that_fails_in_one_seed_is_said_to_fail_with_its_cause(behaviours: ModuleType) -> None:
    from verdicts import CAUSES

    held = {"quality orders noisy vectors": 3, "quality orders noise in raw features": 2}
    result = {"seeds": [1, 2, 3], "held": held, "processor_seconds": 1, "figures": {"x": [0.5, 0.1]}}
    text = behaviours.table({"umq": result})
    assert "| PASS | quality orders noisy vectors | 3 of 3 |" in text
    assert "| FAILS | quality orders noise in raw features | 2 of 3 |" in text
    assert CAUSES["quality orders noise in raw features"] in text
    assert "| x | 0.500 +- 0.100 |" in text


def test_the_noise_modality_says_nothing_of_the_label(behaviours: ModuleType) -> None:
    from planted import noisy

    split = noisy(seed=3, n=2000)["train"]
    label, mixed, noise = split.targets["score"], *(np.stack(list(split.columns[m])) for m in ("mixed", "noise"))
    seen = [np.corrcoef(label, x.reshape(len(label), -1).T)[0, 1:] for x in (mixed, noise)]
    assert seen[0][behaviours.SIGNAL].min() > 0.8
    assert np.abs(np.concatenate([seen[0][behaviours.NOISE], seen[1]])).max() < 0.1
