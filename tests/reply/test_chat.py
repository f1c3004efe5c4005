"""A large model behind HTTP: asked once, and one sentence where it does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from polymodal.cascade.chat import open_chat
from polymodal.core import OptionError, RunError

ASKED: list[dict[str, Any]] = []
MESSAGES = [{"role": "user", "content": "Speaker: Well."}]


class _Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ASKED.append({**body, "key": self.headers["Authorization"]})
        if body["model"] == "closed":
            self.send_error(401)
            return
        said = {} if body["model"] == "odd" else {"choices": [{"message": {"content": "Proud."}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), _Service)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path))
    monkeypatch.setenv("POLYMODAL_LLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("POLYMODAL_LLM_KEY", "secret")
    ASKED.clear()
    yield
    server.shutdown()
    server.server_close()


def test_it_is_asked_once_and_no_key_is_kept(service: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", "open")
    for _ in range(2):
        assert open_chat("http?temperature=0.5").ask("1/0", "emotion", MESSAGES) == "Proud."
    assert [(a["temperature"], a["messages"], a["key"]) for a in ASKED] == [(0.5, MESSAGES, "Bearer secret")]
    assert not any("secret" in file.read_text() for file in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(("model", "sentence"), [("closed", "gave no answer .HTTP 401"), ("odd", "no chat completion")])
def test_what_gives_no_answer_is_told(
    service: None, monkeypatch: pytest.MonkeyPatch, model: str, sentence: str
) -> None:
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", model)
    with pytest.raises(RunError, match=sentence):
        open_chat("http?retries=0").ask("1/0", "reply", MESSAGES)


def test_what_the_environment_or_the_words_lack(service: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYMODAL_LLM_MODEL", raising=False)
    with pytest.raises(OptionError, match="POLYMODAL_LLM_MODEL"):
        open_chat("http")
    with pytest.raises(OptionError, match="temprature"):
        open_chat("http?temprature=1")
