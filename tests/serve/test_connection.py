"""Clients that hold connections: silent, slow, endless, too many; and a log that they cannot fill."""

from __future__ import annotations

import http.client
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import fake_service
import httpx
import pytest
from fake_service import Start

from polymodal.serve.quiet import Quiet

NO_BODY = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"Content-Type: application/json\r\nContent-Length: 9999\r\n\r\n"


def connect(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port or 80), timeout=10)


def answer(connection: socket.socket) -> tuple[int, str]:
    """Return status and sentence of what comes before the connection closes."""
    held = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            held += piece
    return int(held.split()[1]), json.loads(held.partition(b"\r\n\r\n")[2])["error"]


def status(connection: socket.socket) -> int:
    """Read one answer, and no more, and return its status."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ("header_time=0.6", "connections=20", "stall=1")
    with fake_service.running(tmp_path_factory.mktemp("connections"), *options) as (_, address):
        yield address


def test_a_silent_connection_is_closed(url: str) -> None:
    with connect(url) as silent:
        assert answer(silent) == (408, "no whole header came within 0.6 s")


def test_so_is_one_whose_header_never_ends_even_after_an_answer(url: str) -> None:
    with connect(url) as slow:
        slow.sendall(NO_BODY + b"\r\n")
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 5:
                slow.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 3


def test_a_header_that_is_too_large(url: str) -> None:
    with connect(url) as large:
        large.sendall(NO_BODY + b"X: " + b"a" * 20_000)
        assert answer(large) == (431, "the header is larger than 16 KiB")


def test_what_is_no_http(url: str) -> None:
    with connect(url) as noise:
        noise.sendall(b"\x16\x03\x01\r\n\r\n")
        assert answer(noise)[0] == 400


def test_one_connection_too_many_takes_the_place_of_the_one_that_is_silent_longest(url: str) -> None:
    with ExitStack() as held:
        silent = [held.enter_context(connect(url)) for _ in range(20)]
        with connect(url) as late:
            late.sendall(NO_BODY + b"\r\n")
            assert status(late) == 200
            assert answer(silent[0]) == (503, "there are 20 connections already")
        silent[1].sendall(NO_BODY + b"\r\n")
        assert status(silent[1]) == 200


def test_one_that_was_answered_gives_way_without_a_word(url: str) -> None:
    with ExitStack() as held:
        kept = held.enter_context(connect(url))
        kept.sendall(NO_BODY + b"\r\n")
        assert status(kept) == 200
        for _ in range(20):
            held.enter_context(connect(url))
        assert kept.recv(65536) == b""


def test_requests_do_not_give_way(url: str) -> None:
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(connect(url)).sendall(NO_BODY.replace(b"GET /healthz", b"POST /predict") + UPLOAD)
        time.sleep(0.3)  # all headers are read
        assert httpx.get(f"{url}healthz").json()["error"] == "there are 20 connections already"
    assert httpx.get(f"{url}healthz").status_code == 200


def test_a_body_that_nobody_reads_does_not_keep_its_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(url) as drip:
        drip.sendall(NO_BODY + b"Content-Length: 1000000\r\n\r\n")
        assert drip.recv(65536).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 9:
                drip.sendall(b"z")
                time.sleep(0.2)
        assert time.monotonic() - began < 8


@pytest.mark.slow
def test_a_body_that_ends_after_its_answer_does_not_end_the_connection(url: str) -> None:
    with connect(url) as late:
        late.sendall(NO_BODY + b"Content-Length: 4\r\n\r\n")
        assert status(late) == 200
        late.sendall(b"body")
        for _ in range(3):  # longer than LINGER in all
            time.sleep(2)
            late.sendall(NO_BODY + b"\r\n")
            assert status(late) == 200


def test_a_kept_connection_answers_without_waiting_for_the_clients_system(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    took = []
    for _ in range(9):
        began = time.monotonic()
        connection.request("GET", "/openapi.json")
        connection.getresponse().read()
        took.append(time.monotonic() - began)
    assert sorted(took[1:])[4] < 0.035  # 44 ms with Nagle's algorithm


@pytest.mark.parametrize("path", ["", "healthz", "metrics"])
def test_head_is_get_without_a_body(url: str, path: str) -> None:
    head, get = httpx.head(url + path), httpx.get(url + path)
    assert (head.status_code, head.content) == (get.status_code, b"")


@pytest.mark.slow
def test_silent_connections_beyond_the_file_descriptors_neither_stop_it_nor_fill_its_log(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    log = tmp_path / "log"
    command = [sys.executable, fake_service.__file__, "0", "header_time=1"]
    with log.open("w") as file, ExitStack() as held:
        environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
        service = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment, preexec_fn=few
        )
        held.callback(service.communicate)
        held.callback(service.kill)
        assert service.stdout is not None
        address = service.stdout.readline().strip()
        for _ in range(400):
            held.enter_context(connect(address))
        until = time.monotonic() + 15
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{address}healthz", timeout=5).status_code == 200:
                    break
        else:
            pytest.fail("it does not answer any more")
    assert log.stat().st_size < 20_000


@pytest.mark.slow
def test_an_upload_that_drips_is_given_up(start: Start) -> None:
    _, address = start("upload_time=1", "stall=5")
    with connect(address) as drip:
        drip.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9999\r\n\r\n"
        )
        for _ in range(15):
            with suppress(BrokenPipeError):
                drip.sendall(b" ")
            time.sleep(0.1)
        assert answer(drip) == (408, "the upload was not over within 1 s")


@pytest.mark.slow
def test_slow_uploads_do_not_keep_others_out(start: Start, wav: bytes) -> None:
    _, address = start("queue=0")  # four places for uploads
    head = NO_BODY.replace(b"GET /healthz", b"POST /predict")
    with ExitStack() as held:
        fast = held.enter_context(connect(address))
        fast.sendall(head + UPLOAD.replace(b"9999", b"9999999") + b" " * 1_000_000)
        drips = [held.enter_context(connect(address)) for _ in range(3)]
        for drip in drips:
            drip.sendall(head + UPLOAD + b" ")
        time.sleep(0.5)
        assert httpx.post(f"{address}predict", files={"clip": ("a.wav", wav)}).status_code == 200
        assert answer(drips[0]) == (408, "the upload came with less than 16 KiB per second while others waited")
        for late in (connect(address) for _ in range(3)):
            held.enter_context(late).sendall(head + UPLOAD.replace(b"9999", b"9999999") + b" " * 1_000_000)
        time.sleep(0.5)
        refused = httpx.post(f"{address}predict", files={"clip": ("a.wav", wav)})
        assert (refused.status_code, refused.json()["error"]) == (429, "too many uploads are coming in")
        fast.settimeout(0.1)
        with pytest.raises(TimeoutError):  # no answer: it goes on
            fast.recv(1)


def test_of_one_kind_of_line_only_so_many_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, now = Quiet(2), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def line(name: str = "asyncio", said: str = "socket.accept() out of system resource\nTraceback") -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, said, (), None)
        return record.getMessage() if quiet.filter(record) else None

    said = [line() for _ in range(5)]
    assert said == ["socket.accept() out of system resource"] * 2 + [None] * 3
    assert line("polymodal.serve", "another") == "another"
    now += 61
    assert line() == "socket.accept() out of system resource (3 more such lines in the minute before)"
