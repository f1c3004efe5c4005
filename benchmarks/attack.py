"""A service under attack: `python benchmarks/attack.py [RUN] [--seconds 6]`; loopback only, its own service, bounded.

Every attack says which answers are right; the service must go on answering, and its memory and its log stay bounded.
Without a run a small one is trained on a planted corpus. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from measure import machine

MIB = 2**20
OPTIONS = ["--header-time", "2", "--connections", "64", "--upload-time", "20", "--memory", "1024", "--time-limit", "30"]
ODD: list[Any] = [None, True, -1, 1e308, "", "x" * 40_000, "\ud800\x1b[2J", [], {}, [[]], 2**70, "../../etc/passwd"]

Attack = Callable[["Service"], str]
Bomb = Callable[["Door"], str]


class Door:
    """Where a service is knocked at."""

    def __init__(self, port: int) -> None:
        self.port = port

    def open(self) -> socket.socket:
        """Return a connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, body: bytes, kind: str = "application/json", path: str = "/predict", method: str = "POST") -> str:
        """Return the status of the answer, ``unsound`` where it is no sentence, ``closed`` where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            content = answer.read()
            sound = b"Traceback" not in content and (answer.status < 400 or "error" in json.loads(content))
            return str(answer.status) if sound else "unsound"
        except (OSError, http.client.HTTPException):
            return "closed"
        finally:
            connection.close()

    def form(self, content: bytes, name: str = "a.mp4", extra: bytes = b"") -> str:
        """Send a clip in a form, with other parts before its end."""
        part = f'--x\r\nContent-Disposition: form-data; name="clip"; filename="{name}"\r\n\r\n'.encode()
        return self.ask(part + content + b"\r\n" + extra + b"--x--\r\n", "multipart/form-data; boundary=x")


class Service(Door):
    """``polymodal serve`` in a process of its own, watched."""

    def __init__(self, run: str, folder: Path, seconds: float) -> None:
        self.seconds, self.log = seconds, folder / "log"
        command = [sys.executable, "-m", "polymodal", "serve", run, "--port", "0", *OPTIONS]
        environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self.process.stdout is not None
        self.mutations = 0
        super().__init__(int(self.process.stdout.readline().split()[-1].rstrip("/").rpartition(":")[2]))
        self.peak, self._done = 0.0, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            told = subprocess.run(["ps", "--ppid", str(self.process.pid), "-o", "rss="], capture_output=True, text=True)
            self.peak = max([self.peak, *(int(line) / 1024 for line in told.stdout.split())])

    def end(self) -> None:
        """End it."""
        self._done.set()
        self.process.terminate()
        self.process.wait(timeout=60)


def rows(*values: Any) -> bytes:
    return json.dumps({"rows": list(values)}).encode()


def mp4(tracks: int) -> bytes:
    """Return an MP4 whose tables promise 89 million samples in each of its tracks."""
    import av
    import numpy as np

    out = BytesIO()
    with av.open(out, "w", "mp4") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(tracks)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
            container.mux([*stream.encode(frame), *stream.encode(None)])
    data = bytearray(out.getvalue())
    for box, numbers in ((b"stsz", (1, 89_000_000)), (b"stts", (1, 89_000_000, 1)), (b"stsc", (1, 1, 89_000_000, 1))):
        at = 0
        while (at := data.find(box, at + 1)) > 0:
            struct.pack_into(f">{len(numbers)}I", data, at + 8, *numbers)
    return bytes(data)


def transcript(name: str, content: bytes) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="transcript"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def segments(count: int) -> bytes:
    return json.dumps([{"start": 0, "end": 9, "text": "a"}] * count).encode()


def silent(service: Service) -> str:
    """Open connections that say nothing, one after another."""
    held = []
    until = time.monotonic() + service.seconds
    while time.monotonic() < until and len(held) < 400:
        with contextlib.suppress(OSError):
            held.append(service.open())
    time.sleep(3)
    for connection in held:
        connection.close()
    return service.ask(b"", path="/healthz", method="GET")


def dripping(service: Service) -> str:
    """Hold every upload place with a byte now and then."""
    held = []
    for _ in range(50):
        with contextlib.suppress(OSError):
            connection = service.open()
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 9999\r\n\r\n"
            )
            held.append(connection)
    until = time.monotonic() + 14
    while time.monotonic() < until:
        for connection in held:
            with contextlib.suppress(OSError):
                connection.sendall(b" ")
        time.sleep(0.5)
    answer = service.ask(rows({}))
    for connection in held:
        connection.close()
    return answer


def header(service: Service) -> str:
    with service.open() as connection, contextlib.suppress(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(256):
            connection.sendall(b"a" * 65536)
        return connection.recv(64).split()[1].decode()
    return "closed"


def mutated(service: Service) -> str:
    """Send JSON that is nearly right, and random bytes in forms; anything but a defect is right."""
    draw, seen = random.Random(0), set()
    until = time.monotonic() + service.seconds
    count = 0
    while time.monotonic() < until:
        value = draw.choice(ODD)
        body = draw.choice(
            [
                rows({draw.choice(["text", "audio", "smell"]): value}),
                rows(value),
                json.dumps({"rows": value}).encode(),
                json.dumps(value).encode()[: draw.randrange(1, 30)],
                b"[" * draw.choice([10, 100_000]),
                draw.randbytes(200),
            ]
        )
        seen.add(service.ask(body))
        seen.add(
            service.form(draw.randbytes(300), extra=draw.choice([b"", draw.randbytes(50), transcript("a.srt", b"x")]))
        )
        count += 2
    service.mutations = count
    return "/".join(sorted(seen))


BOMBS: dict[str, tuple[Bomb, set[str]]] = {
    "23 MB of short words": (lambda s: s.ask(rows({"text": "ab " * 7_600_000})), {"413"}),
    "nine million rows": (lambda s: s.ask(b'{"rows":[' + b"{}," * 9_000_000 + b"{}]}"), {"413"}),
    "a table of 89 million samples": (lambda s: s.form(mp4(1)), {"413"}),
    "12 such tables": (lambda s: s.form(mp4(12)), {"413"}),
}
"""Small to send, or large to read: the answer, and which ones are right."""

ATTACKS: dict[str, tuple[Attack, set[str]]] = {
    **BOMBS,
    "60 tracks": (lambda s: s.form(mp4(60)), {"413"}),
    "20,000 segments": (
        lambda s: s.form(b"RIFF", extra=transcript("a.json", segments(20_000))),
        {"413", "422"},
    ),
    "a header without an end": (header, {"431", "closed"}),
    "a name that climbs": (lambda s: s.form(b"x", "../../../etc/passwd"), {"422"}),
    "a name with escapes": (lambda s: s.form(b"x", "\x1b[2J\u202e.mp4"), {"422"}),
    "silent connections": (silent, {"200"}),
    "uploads by the byte": (dripping, {"200", "422"}),
    "mutated JSON and forms": (mutated, set()),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--seconds", type=float, default=6.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = asked.run
        if run is None:
            from polymodal.train.fit import fit

            run = str(fit("late-fusion", "synthetic:talk?n=60", options={"epochs": 1}, out=Path(place) / "run").path)
        service, found = Service(run, Path(place), asked.seconds), []
        try:
            for name, (attack, right) in ATTACKS.items():
                service.peak, began = 0.0, time.monotonic()
                answer = attack(service)
                well = bool(
                    set(answer.split("/")) <= right if right else not {"500", "unsound"} & set(answer.split("/"))
                )
                alive = service.ask(b"", path="/healthz", method="GET") == "200"
                line = {
                    "attack": name,
                    "answer": answer,
                    "held": well and alive,
                    "peak_mib": round(service.peak),
                    "seconds": round(time.monotonic() - began, 1),
                }
                found.append(line)
                print(
                    f"{name:<32} {answer:<22} {'held' if line['held'] else 'BROKE':<6} {line['peak_mib']} MiB",
                    flush=True,
                )
        finally:
            service.end()
        log = service.log.stat().st_size
    print(json.dumps({"attacks": found, "log_bytes": log, "mutations": service.mutations, **machine()}))


if __name__ == "__main__":
    main()
