"""A service as a process: clients that leave, signals, what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fake_service import FakePredictor, Start, no_run, uploads

from polymodal.core import OptionError, RunError
from polymodal.serve.server import serve
from polymodal.serve.settings import Settings


def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until ``true()``."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def send(url: str, name: str, wav: bytes) -> httpx.Response:
    return httpx.post(f"{url}predict", files={"clip": (name, wav)}, timeout=30)


def half_sent(url: str, size: int = 500_000) -> socket.socket:
    """Return a connection over which half of a clip has been sent."""
    connection = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
    head = f'--x\r\nContent-Disposition: form-data; name="clip"; filename="a.mp4"\r\n\r\n{"z" * size}'
    connection.sendall(
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {2 * size}\r\n\r\n{head}".encode()
    )
    return connection


def scratch(tmp_path: Path) -> Path:
    (root,) = tmp_path.glob("polymodal-serve-*")
    return root


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def test_clients_that_leave_leave_nothing_and_free_the_worker(start: Start, tmp_path: Path, wav: bytes) -> None:
    _, url = start("queue=0")
    root = scratch(tmp_path)
    connection = half_sent(url)
    until(lambda: uploads(root))
    connection.close()
    until(lambda: not uploads(root))
    slow: dict[str, Any] = {"clip": ("slow-60.wav", wav)}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}predict", files=slow, timeout=0.7)
    until(lambda: not uploads(root))
    until(lambda: send(url, "next.wav", wav).status_code == 200)
    lines = {"accept": "application/x-ndjson"}
    with httpx.stream("POST", f"{url}predict", files=slow, headers=lines, timeout=30) as response:
        assert "progress" in next(response.iter_lines())
    until(lambda: not uploads(root))
    until(lambda: send(url, "next.wav", wav).status_code == 200)
    counts = httpx.get(f"{url}metrics").text
    assert 'polymodal_requests_total{status="499"} 3.0' in counts
    assert "polymodal_requests_in_flight 0.0" in counts


def test_a_service_that_is_asked_to_end_finishes_what_runs(start: Start, tmp_path: Path, wav: bytes) -> None:
    process, url = start()
    root = scratch(tmp_path)
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(send, url, f"slow-0.8-{i}.wav", wav) for i in range(2)]
        until(lambda: len(uploads(root)) == 2)
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}healthz").status_code == 503)
        refused = send(url, "late.wav", wav)
        assert (refused.status_code, refused.json()["error"]) == (503, "the service is shutting down")
        assert httpx.get(f"{url}healthz").json()["status"] == "draining"
        assert [a.result().status_code for a in asked] == [200, 200]
    assert process.wait(10) == 0
    assert [p.name for p in root.iterdir()] == ["lock"]


def test_a_second_signal_ends_at_once(start: Start, tmp_path: Path, wav: bytes) -> None:
    process, url = start()
    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(send, url, "slow-60.wav", wav)
        until(lambda: uploads(scratch(tmp_path)))
        process.send_signal(signal.SIGINT)
        until(lambda: httpx.get(f"{url}healthz").status_code == 503)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        assert asked.result().status_code == 503
    assert [p.name for p in scratch(tmp_path).iterdir()] == ["lock"]


def test_what_a_killed_service_held_is_gone_after_the_next_start(start: Start, tmp_path: Path, wav: bytes) -> None:
    process, url = start("workers=2")
    root, workers = scratch(tmp_path), children(process.pid)
    assert len(workers) >= 2
    with half_sent(url), ThreadPoolExecutor(1) as clients:
        asked = clients.submit(send, url, "slow-60.wav", wav)
        until(lambda: len(uploads(root)) == 2)
        process.kill()
        with pytest.raises(httpx.HTTPError):
            asked.result()
    process.wait()
    until(lambda: not any(alive(pid) for pid in workers))
    assert len(uploads(root)) == 2  # and nothing elsewhere
    assert [p for p in tmp_path.iterdir() if p != root and not p.name.startswith("pymp-")] == []
    start()
    assert uploads(root) == []


def test_a_worker_that_was_killed_while_idle_costs_nobody_an_answer(start: Start, wav: bytes) -> None:
    process, url = start()
    (worker,) = [pid for pid in children(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    until(lambda: not alive(worker))
    assert send(url, "fine.wav", wav).status_code == 200


def test_a_port_in_use_is_one_sentence(wav: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"cannot listen on port {port} of 127.0.0.1 .*choose another --port"):
            serve(FakePredictor, Settings("fake"), port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("256.1.1.1", 0)])
def test_an_address_that_does_not_exist_is_one_sentence(host: str, port: int) -> None:
    with pytest.raises(OptionError, match="cannot listen"):
        serve(FakePredictor, Settings("fake", host=host, token="t"), port=port)


def test_a_run_that_cannot_be_loaded_is_said_before_anything_is_announced() -> None:
    said: list[str] = []
    with pytest.raises(RunError, match="there is no run at runs/nowhere"):
        serve(no_run, Settings("fake"), port=0, announce=said.append)
    assert said == []


def test_what_is_not_picklable_is_no_way_to_load() -> None:
    with pytest.raises((AttributeError, TypeError)):
        serve(partial(lambda: FakePredictor()), Settings("fake"), port=0)
