"""The load benchmark on a fake service; on a real one: ``python benchmarks/serving.py RUN CLIP...``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_service
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import serving

    return serving


def offline(clips: dict[str, bytes], folder: Path, comparable: Callable[[Any], Any]) -> dict[str, Any]:
    found = {}
    for name, content in clips.items():
        (folder / name).write_bytes(content)
        answer = fake_service.FakePredictor().predict(folder / name, name=name)
        found[name] = comparable(answer.to_dict())
    return found


@pytest.mark.slow
def test_many_clients_get_right_answers_and_leave_nothing(
    serving: ModuleType, make_wav: Callable[..., bytes], tmp_path: Path
) -> None:
    clips = {f"slow-0.2-{i}.wav": make_wav(0.5, 300 + 50 * i) for i in range(3)}
    expected = offline(clips, tmp_path, serving.comparable)
    command = [sys.executable, fake_service.__file__, "0", "workers=2"]
    found = serving.measure(command, clips, expected, clients=20, seconds=10)
    assert found["first_problems"] == []
    assert found["compared_with_offline"] > 30
    assert set(found["statuses"]["good"]) <= {200, 429}
    assert 422 in found["statuses"]["bad"]
    assert found["files_held_at_end"] == found["files_left_after_end"] == []
    assert (found["exit_code"], found["in_flight_at_end"]) == (0, 0)


def test_a_wrong_answer_is_noticed(serving: ModuleType) -> None:
    tally = serving.Tally()
    right = {"clip": "a", "utterances": [{"value": 1.0}]}
    tally.check("good", "a", 200, {**right, "seconds": {"total": 9}, "run": "x"}, right)
    assert tally.problems == []
    tally.check("good", "a", 200, {"clip": "a", "utterances": [{"value": 1.5}]}, right)
    tally.check("good", "a", 500, {"error": "no"}, right)
    tally.check("bad", "a", 200, right, None)
    tally.check("bad", "a", 422, {}, None)
    assert len(tally.problems) == 4
    assert tally.problems[0] == "a: /utterances/0/value: 1.5 instead of 1.0"
