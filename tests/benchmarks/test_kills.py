"""A few of the kills of benchmarks/kills.py; and what its comparison notices."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
FIT = (
    "fit late-fusion --data synthetic:xor?n=40 --set width=8 --epochs 4 --batch-size 4 --checkpoint-seconds 0 --out out"
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import kills

    return kills


def test_files_that_differ_are_missing_or_too_many_are_found_and_times_are_not(
    kills: ModuleType, tmp_path: Path
) -> None:
    result = {"valid_loss": 0.5, "seconds": 1.0}
    for name, changed in {
        "whole": {},
        "same": {"seconds": 2.0},
        "other": {"valid_loss": 0.5000001},
        "less": None,
        "more": {},
    }.items():
        folder = tmp_path / name / "there" / "out"
        folder.mkdir(parents=True)
        (folder / "last.safetensors").write_bytes(b"1" if name == "other" else b"0")
        if changed is not None:
            (folder / "result.json").write_text(json.dumps(result | changed))
    (tmp_path / "more/there/out/.last.safetensors.partial").touch()

    def found(name: str) -> list[str]:
        return kills.difference(tmp_path / "whole", tmp_path / name)

    assert found("same") == []
    assert found("other") == ["other: out/last.safetensors differs", "other: out/result.json differs"]
    assert found("less") == ["less: out/result.json is missing"]
    assert found("more") == ["more: out/.last.safetensors.partial is too much"]


@pytest.mark.slow
def test_a_training_that_is_killed_ends_as_another_and_other_weights_would_be_noticed(
    kills: ModuleType, tmp_path: Path
) -> None:
    row = kills.kill_and_compare([*FIT.split(), "--resume"], 1, random.Random(1), tmp_path)
    assert (row.kills, row.problems) == (1, [])
    assert row.equal == row.folders
    weights = tmp_path / "killed-0/there/out/seed-1111/best.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    noticed = kills.difference(tmp_path / "whole", tmp_path / "killed-0")
    assert noticed == ["killed-0: out/seed-1111/best.safetensors differs"]
