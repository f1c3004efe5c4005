"""A fake service besieged for a few seconds: honest clients are answered, and what goes wrong would be told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
FAKE = TESTS / "serve" / "fake_service.py"

BOMBS = ("a table of 89 million samples", "12 such tables")  # those in JSON are for a real predictor, which has limits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def siege() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS.parent / "benchmarks"))
        patch.syspath_prepend(str(FAKE.parent))
        yield importlib.import_module("siege")


@pytest.fixture
def besiege(siege: Any) -> Callable[..., dict[str, Any]]:
    """Returns a function: settings of the service, how its clips are called -> what was found."""
    fake, serving = importlib.import_module("fake_service"), importlib.import_module("serving")
    told = fake.FakePredictor().predict

    def run(*settings: str, name: str = "a.wav", expected: str = "a.wav") -> dict[str, Any]:
        clips = {name: siege.voice(0)}
        offline = {name: serving.comparable(told(clips[name], name=expected).to_dict())}
        command = [sys.executable, str(FAKE), "0", *settings]
        found: dict[str, Any] = siege.measure(
            command, clips, offline, clients=6, calm=2, seconds=5, think=1, bombs=BOMBS
        )
        return found

    return run


def test_honest_clients_are_answered(besiege: Callable[..., dict[str, Any]], siege: Any) -> None:
    found = besiege()
    under = found["siege"]
    assert (under["wrong"], under["problems"]) == (0, 0), under
    assert under["right"] > 3
    assert found["attacks"]["silent sockets"]["opened"] > 256  # more than there are places
    assert set(found["attacks"]["silent sockets"]["answers"]) <= {"503", "408", "closed"}
    assert set(found["attacks"]["slow uploads"]["answers"]) <= {"503", "408", "429", "closed"}
    assert (found["files_left"], found["exit_code"], found["health_after"]) == ([], 0, 200)
    assert "siege" in siege.table(found)


def test_wrong_answers_and_crowding_would_be_noticed(besiege: Callable[..., dict[str, Any]]) -> None:
    found = besiege("queue=0", name="slow-1.wav", expected="b.wav")
    assert found["siege"]["wrong"] == found["siege"]["right"] + found["siege"]["wrong"] > 0
    assert any("/clip: slow-1.wav instead of b.wav" in sentence for sentence in found["broke"])
    assert found["siege"]["refused"]["429"] > 0
    assert any("refused" in sentence for sentence in found["broke"])
