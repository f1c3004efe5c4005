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
        sys.modules["fuzz_doors"] = module  # where its dataclasses look
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(PLACE))


fuzz = _load()
KEPT = json.loads((PLACE / "regressions.json").read_text())


FILES = [door for door in fuzz.DOORS if door not in ("run", "store")]  # one small file, quick to read


@pytest.mark.parametrize("number", range(len(KEPT)))
def test_what_was_found_once(number: int) -> None:
    one = KEPT[number]
    what, said = fuzz.outcome(one["door"], one["file"], fuzz.unpacked(one["content"]))
    assert what != "found", said


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(door=st.sampled_from(FILES), seed=st.integers(0, 2**32), number=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused(door: str, seed: int, number: int) -> None:
    [(file, content)] = fuzz.DOORS[door].files().items()
    what, said = fuzz.outcome(door, file, fuzz.mutant(content, seed, number))
    assert what != "found", said


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(door=st.sampled_from(FILES), content=st.binary(max_size=300))
def test_so_is_anything(door: str, content: bytes) -> None:
    what, said = fuzz.outcome(door, *fuzz.DOORS[door].files(), content)
    assert what != "found", said


@pytest.mark.parametrize("door", ["run", "store"])
def test_a_damaged_folder_is_as_it_was_or_refused(door: str) -> None:
    files = fuzz.DOORS[door].files()
    for number in range(3 * len(files)):
        name = list(files)[number % len(files)]
        what, said = fuzz.outcome(door, name, fuzz.mutant(files[name], 7, number))
        assert what != "found", f"{name}: {said}"


def test_what_changes_without_a_word_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    door = fuzz.Door.of("a.txt", lambda: b"1", lambda folder: (folder / "a.txt").read_bytes())
    monkeypatch.setitem(fuzz.DOORS, "plain", door)
    assert fuzz.outcome("plain", "a.txt", b"1") == ("read", "")
    assert fuzz.outcome("plain", "a.txt", b"2") == ("found", "changed without a word: b'2'")
