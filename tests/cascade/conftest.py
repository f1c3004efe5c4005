"""A fake service, named by the environment."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from polymodal.cascade import endpoint

sys.path.insert(0, str(Path(__file__).parent))

from fake_chat import Service, said


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    found = Service("", said("1.5"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.bodies.append(body)
            found.keys.append(self.headers["Authorization"])
            state, reply = found.reply(body, len(found.bodies) - 1)
            self.send_response(state)
            if found.location:
                self.send_header("Location", found.location)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            try:
                for byte in [reply[i : i + 1] for i in range(len(reply))] if found.drip else [reply]:
                    self.wfile.write(byte)
                    self.wfile.flush()
                    time.sleep(found.drip)
            except OSError:
                pass  # the other side has hung up, as it should

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    monkeypatch.setenv("POLYMODAL_LLM_URL", found.url)
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", "stub")
    monkeypatch.setenv("POLYMODAL_LLM_KEY", "secret")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(endpoint, "PAUSES", (0.0,))
    yield found
    server.shutdown()
    server.server_close()
