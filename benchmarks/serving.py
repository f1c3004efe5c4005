"""The service under load: many clients, good and bad uploads, every answer compared with the offline one.

python benchmarks/serving.py RUN CLIP... [--clients 50] [--seconds 300] [--workers 2] [--save]

Starts ``polymodal serve RUN`` on a free port, sends every clip twice so that everything is loaded, measures memory,
lets the clients loose, measures memory again, ends the service and looks for what it left. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from measure import machine, save

LINES = {"accept": "application/x-ndjson"}
ALLOWED = {"good": {200, 429, 503}, "bad": {413, 415, 422, 429, 503}}
OURS = ("seconds", "run")  # what differs between two predictions of one clip: time, and how the run is called


@dataclass
class Tally:
    """What the clients saw."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: {"good": Counter(), "bad": Counter()})
    latencies: list[float] = field(default_factory=list)
    compared: int = 0
    wrong: int = 0
    left: int = 0
    problems: list[str] = field(default_factory=list)

    def check(self, kind: str, name: str, status: int, body: dict[str, Any], expected: dict[str, Any] | None) -> None:
        """Count an answer, and note what is wrong with it."""
        self.statuses[kind][status] += 1
        if status not in ALLOWED[kind]:
            self.problems.append(f"{name}: status {status}: {str(body)[:200]}")
        elif status != 200 and not body.get("error"):
            self.problems.append(f"{name}: status {status} without a sentence")
        elif status == 200:
            self.compared += 1
            if said := difference(comparable(body), expected):
                self.wrong += 1
                self.problems.append(f"{name}: {said}")


def comparable(timeline: dict[str, Any]) -> dict[str, Any]:
    """Return a timeline without what differs between two predictions."""
    return {key: value for key, value in timeline.items() if key not in OURS}


def difference(found: Any, expected: Any, where: str = "") -> str:
    """Return the first place where two timelines differ."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return next((t for k in found if (t := difference(found[k], expected[k], f"{where}/{k}"))), "")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return next((t for i, (a, b) in pairs if (t := difference(a, b, f"{where}/{i}"))), "")
    if (
        isinstance(found, float)
        and isinstance(expected, float)
        and isclose(found, expected, rel_tol=1e-3, abs_tol=1e-6)
    ):
        return ""  # sums over another number of threads are rounded in another way
    return "" if found == expected else f"{where}: {str(found)[:80]} instead of {str(expected)[:80]}"


def bad_uploads(clips: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Return uploads that must be refused, made from good ones where that helps."""
    some = next(iter(clips.values()))
    noise = random.Random(0).randbytes(50_000)
    return [
        ("empty.mp4", b""),
        ("zeros.mp4", bytes(100_000)),
        ("notes.mp4", b"this is a text\n" * 2000),
        ("noise.mpg", noise[:20_000]),
        ("../../../etc/passwd", b"root:x:0:0\n" * 100),
        ("page.webm", b"<html><body>no clip</body></html>"),
        ("head.mp4", some[:16]),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"),
    ]


class Service:
    """The service as a process; ``memory`` counts it and its workers, ``log`` is what it said."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.log = folder / "log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "http" not in line:
            raise SystemExit(f"the service did not start: {self.log.read_text()[-500:]}")
        self.url = line[line.index("http") :].strip()

    @property
    def memory(self) -> float:
        """Private memory of the process and its children in MiB."""
        return sum(_status(pid).get("RssAnon", 0.0) for pid in (self._process.pid, *self._children()))

    def workers(self) -> dict[int, dict[str, float]]:
        """Return, by process, the MiB that a worker has counted against its limit, the limit, and the resident peak."""
        found = {}
        for pid in self._children():
            with contextlib.suppress(OSError):
                soft = Path(f"/proc/{pid}/limits").read_text().partition("Max data size")[2].split()[0]
                if soft != "unlimited" and (told := _status(pid)):
                    limit = round(int(soft) / 2**20, 1)
                    found[pid] = {
                        "counted_mib": told["VmData"],
                        "limit_mib": limit,
                        "resident_peak_mib": told["VmHWM"],
                    }
        return found

    def _children(self) -> list[int]:
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self) -> int:
        """Ask it to end and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)


def _status(pid: int) -> dict[str, float]:
    """Return what the system says of a process, in MiB; nothing of one that has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":") for line in lines if line.endswith(" kB"))
    return {name: round(int(value.split()[0]) / 1024, 1) for name, value in pairs}


def client(url: str, seed: int, until: float, clips: dict[str, bytes], offline: dict[str, Any], tally: Tally) -> None:
    """Be one client: three of four uploads are good, one of twenty leaves before its answer."""
    rng = random.Random(seed)
    bad = bad_uploads(clips)
    with httpx.Client(timeout=180, trust_env=False) as http:
        while time.monotonic() < until:
            good = rng.random() < 0.75
            name, content = rng.choice(list(clips.items()) if good else bad)
            try:
                if rng.random() < 0.05:
                    leave(http, url, name, content)
                    tally.left += 1
                    continue
                began = time.monotonic()
                status, body, pause = ask(http, url, name, content, rng.random() < 0.5)
            except httpx.HTTPError as error:
                tally.problems.append(f"{name}: {type(error).__name__}: {error}")
                continue
            tally.check("good" if good else "bad", name, status, body, offline.get(name))
            if status == 200:
                tally.latencies.append(time.monotonic() - began)
            time.sleep(min(pause, 1.0) * rng.random())


def ask(http: httpx.Client, url: str, name: str, content: bytes, lines: bool) -> tuple[int, dict[str, Any], float]:
    """Return status, body and the pause that the service asks for."""
    response = http.post(f"{url}predict", files={"clip": (name, content)}, headers=LINES if lines else {})
    pause = float(response.headers.get("retry-after", 0))
    if not (lines and response.status_code == 200):
        return response.status_code, response.json(), pause
    last = json.loads(response.text.splitlines()[-1])
    return (200, last["result"], pause) if "result" in last else (last["status"], last, pause)


def leave(http: httpx.Client, url: str, name: str, content: bytes) -> None:
    """Send a clip and go away without its answer."""
    with http.stream("POST", f"{url}predict", files={"clip": (name, content)}, headers=LINES) as response:
        next(response.iter_bytes(), b"")


def measure(
    command: Sequence[str], clips: dict[str, bytes], offline: dict[str, Any], *, clients: int, seconds: float
) -> dict[str, Any]:
    """Return what happened to a service started with ``command``."""
    tally, peak = Tally(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        service = Service(command, Path(folder))
        with httpx.Client(timeout=180, trust_env=False) as http:
            for name, content in [*clips.items()] * 2:
                tally.check("good", name, *ask(http, service.url, name, content, False)[:2], offline[name])
        start, until = service.memory, time.monotonic() + seconds
        threads = [
            threading.Thread(target=client, args=(service.url, seed, until, clips, offline, tally))
            for seed in range(clients)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, service.memory)
            time.sleep(0.5)
        counts = httpx.get(f"{service.url}metrics", trust_env=False).text
        end = service.memory
        held = uploads(Path(folder))
        code = service.end()
        left = uploads(Path(folder))
    ranks = np.percentile(tally.latencies, (50, 95, 99, 100)) if tally.latencies else [float("nan")] * 4
    return {
        "clients": clients,
        "seconds": seconds,
        "statuses": {kind: dict(sorted(counter.items())) for kind, counter in tally.statuses.items()},
        "compared_with_offline": tally.compared,
        "left_before_answer": tally.left,
        "problems": len(tally.problems),
        "first_problems": tally.problems[:5],
        "answers_per_second": round(len(tally.latencies) / seconds, 2),
        "latency_seconds": dict(zip(("p50", "p95", "p99", "max"), np.round(ranks, 2).tolist(), strict=True)),
        "private_mib": {"start": round(start, 1), "peak": round(peak, 1), "end": round(end, 1)},
        "end_against_start": round(end / start, 3),
        "in_flight_at_end": float(counts.partition("\npolymodal_requests_in_flight ")[2].split()[0]),
        "files_held_at_end": held,
        "files_left_after_end": left,
        "exit_code": code,
    }


def uploads(folder: Path) -> list[str]:
    """Return the files that services hold in their own folders under ``folder``."""
    return [p.name for p in folder.glob("polymodal-serve-*/**/*") if p.is_file() and p.name != "lock"]


def offline_answers(run: str, paths: Sequence[Path], threads: int) -> dict[str, Any]:
    """Return what the run says about every clip without a service."""
    from polymodal.serve.load import load_predictor

    predictor = load_predictor(run, None, threads)
    return {p.name: comparable(json.loads(json.dumps(predictor.predict(p, name=p.name).to_dict()))) for p in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write results/serving.json")
    options = parser.parse_args()
    command = [sys.executable, "-m", "polymodal", "serve", options.run, "--port", "0"]
    command += ["--workers", str(options.workers)]
    offline = offline_answers(options.run, options.clips, max(1, (os.cpu_count() or 1) // options.workers))
    clips = {path.name: path.read_bytes() for path in options.clips}
    found = measure(command, clips, offline, clients=options.clients, seconds=options.seconds)
    print(json.dumps({"machine": machine(), **found, "workers": options.workers}, indent=1))
    if options.save:
        save("serving", {**found, "workers": options.workers})


if __name__ == "__main__":
    main()
