"""Damaged files through every door, a few of them; and again all that once came through badly."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLACE = Path(__file__).resolve().parents[2] / "benchmarks"


def _load() -> Any:
    sys.path.insert(0, str(PLACE))
    try:
        spec = importlib.util.spec_from_file_location("fuzz_doors", PLACE / "fuzz_doors.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(PLACE))


fuzz = _load()
KEPT = json.loads((PLACE / "regressions.json").read_text())


@pytest.mark.parametrize("door", fuzz.DOORS)
def test_a_sound_file_is_read(door: str, tmp_path: Path) -> None:
    assert fuzz.outcome(door, fuzz.DOORS[door][1](), tmp_path) == ("read", "")


@pytest.mark.parametrize("number", range(len(KEPT)))
def test_what_was_found_once(number: int, tmp_path: Path) -> None:
    what, said = fuzz.outcome(KEPT[number]["door"], fuzz.unpacked(KEPT[number]["content"]), tmp_path)
    assert what != "found", said


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(door=st.sampled_from(sorted(fuzz.DOORS)), seed=st.integers(0, 2**32), number=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused(door: str, seed: int, number: int, tmp_path: Path) -> None:
    what, said = fuzz.outcome(door, fuzz.mutant(fuzz.DOORS[door][1](), seed, number), tmp_path)
    assert what != "found", said


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(door=st.sampled_from(sorted(fuzz.DOORS)), content=st.binary(max_size=300))
def test_so_is_anything(door: str, content: bytes, tmp_path: Path) -> None:
    what, said = fuzz.outcome(door, content, tmp_path)
    assert what != "found", said
