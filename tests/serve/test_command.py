"""``polymodal serve``: what it refuses before it listens, and how its words become settings."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from polymodal.cli import serve as command
from polymodal.cli.parser import build_parser
from polymodal.core import OptionError, RunError
from polymodal.serve.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server was started with; it does not listen."""
    seen: dict[str, Any] = {}

    def start(load: Any, settings: Settings, **rest: Any) -> None:
        seen.update(load=load, settings=settings, **rest)

    monkeypatch.setattr("polymodal.serve.server.serve", start)
    monkeypatch.delenv("POLYMODAL_TOKEN", raising=False)
    return seen


def call(*words: str) -> int:
    parser = build_parser("serve", command.serve, command.EXAMPLES["serve"])
    return command.serve(**vars(parser.parse_args(words)))


def test_words_become_settings(started: dict[str, Any]) -> None:
    words = "--port 9 --workers 2 --max-upload 5 --max-seconds 60 --queue 3 --time-limit 7 --token abc --assets models"
    assert call("runs/mosi", *words.split()) == 0
    assert started["settings"] == Settings("mosi", "127.0.0.1", 2, 5.0, 60.0, 3, 7.0, "abc")
    assert started["port"] == 9
    assert started["load"].args[:2] == ("runs/mosi", "models")


def test_the_token_may_come_from_the_environment(started: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_TOKEN", "from outside")
    call("runs/mosi", "--host", "0.0.0.0")
    assert started["settings"].token == "from outside"
    monkeypatch.setenv("POLYMODAL_TOKEN", "")
    with pytest.raises(OptionError, match="not empty"):
        call("runs/mosi")


def test_other_machines_are_not_let_in_without_a_token(started: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"other machines can reach 0\.0\.0\.0: set a token"):
        call("runs/mosi", "--host", "0.0.0.0")
    assert started == {}


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("polymodal.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(OptionError, match=r"needs uvicorn; run: pip install 'polymodal\[serve\]'"):
        call("runs/mosi")


def test_a_port_in_use_is_said_before_the_run_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OptionError, match="choose another --port"):
        call("runs/mosi", "--port", str(taken.getsockname()[1]))


@pytest.mark.slow
def test_a_run_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        call(str(tmp_path / "nowhere"), "--port", "0")
