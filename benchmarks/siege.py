"""The service under everything at once: `python benchmarks/siege.py [RUN] [--seconds 300] [--calm 60] [--save]`.

50 honest clients send clips to ``polymodal serve RUN`` with its defaults, first alone and then, in the same service,
while a second process holds 400 silent sockets and 50 uploads of a byte now and then, each opened again when it is
closed, and sends the bombs of ``attack.py``, every kind from a thread of its own, one after the other. Every answer is
compared with the offline one. A latency runs from a clip to its answer, with the pauses that refusals ask for.

The ready run ``voice-emotion`` takes about a second of one core for a clip, so clients think for 120 s on average: the
one worker is then busy for less than half of the calm phase, whose median is that of clips that hardly wait. Prints a
table, what broke, and last one line of JSON; loopback only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing as mp
import random
import selectors
import socket
import sys
import tempfile
import threading
import time
import wave
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from attack import BOMBS, Door
from measure import machine, save
from serving import ALLOWED, Service, Tally, ask, offline_answers, uploads

SILENT, SLOW = 400, 50
AIM = 3.0
"""Times the calm median that the median under siege may be."""

LOG = 100_000
"""Bytes that the log may have."""

BURST = 16
"""Connections opened in one go: what is more than a system keeps for a service would never come to it."""

PATIENCE = 120.0
"""Seconds for the attackers to begin, and to end."""

CROWDED = {"429", "503", "closed"}
"""What attackers may be answered because there are so many of them."""

UPLOAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"


def voice(seed: int, rate: int = 16_000) -> bytes:
    """Return a second or two of something like a voice, as WAV."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(rng.uniform(1, 2) * rate)) / rate
    pitch = rng.uniform(100, 250) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * times))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(8 * np.pi * times))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((sound / np.abs(sound).max() * 20_000).astype("<i2").tobytes())
    return out.getvalue()


def hold(port: int, count: int, say: bytes, drip: bytes, pause: float, stop: Any) -> dict[str, Any]:
    """Keep ``count`` connections, each says ``say`` and a ``drip`` after every ``pause``; what they are answered."""
    answers: Counter[str] = Counter()
    opened = 0
    with selectors.DefaultSelector() as watched:
        while not stop.is_set():
            for _ in range(min(BURST, count - len(watched.get_map()))):
                connection = socket.socket()
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", port))
                watched.register(connection, selectors.EVENT_READ, say)
                opened += 1
            for key in list(watched.get_map().values()) if say else ():
                with contextlib.suppress(OSError):  # not connected yet, or closed: it is told below
                    key.fileobj.send(key.data)  # type: ignore[union-attr]
                    watched.modify(key.fileobj, selectors.EVENT_READ, drip)
            for key, _ in watched.select(0):
                try:
                    head = key.fileobj.recv(4096)  # type: ignore[union-attr]
                except OSError:
                    head = b""
                answers[head.split()[1].decode() if head else "closed"] += 1
                watched.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
            stop.wait(pause)
        for key in list(watched.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return {"at_once": count, "opened": opened, "answers": dict(answers)}


def throw(port: int, name: str, stop: Any) -> dict[str, Any]:
    """Send one kind of bomb after the other."""
    answers: Counter[str] = Counter()
    while not stop.is_set():
        answers[BOMBS[name][0](Door(port))] += 1
    return {"at_once": 1, "opened": answers.total(), "answers": dict(answers)}


def storm(port: int, bombs: Sequence[str], stop: Any, told: Any) -> None:
    """Attack until ``stop``, from a process of its own; puts None when it begins, and what came of it."""
    with ThreadPoolExecutor(2 + len(bombs)) as crew:
        crowd = {
            "silent sockets": crew.submit(hold, port, SILENT, b"", b"", 0.02, stop),
            "slow uploads": crew.submit(hold, port, SLOW, UPLOAD, b" ", 0.25, stop),
            **{name: crew.submit(throw, port, name, stop) for name in bombs},
        }
        told.put(None)
        told.put({name: done.result() for name, done in crowd.items()})


def honest(
    http: httpx.Client,
    url: str,
    seed: int,
    until: float,
    think: float,
    clips: dict[str, bytes],
    tally: Tally,
    told: Any,
) -> None:
    """Be one client: a clip, its answer, a pause; one that is turned away comes back when it was told to."""
    rng = random.Random(seed)

    def rest(seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, until - time.monotonic())))

    rest(rng.uniform(0, think))
    while (began := time.monotonic()) < until:
        name, content = rng.choice(list(clips.items()))
        status = 0
        while status != 200:
            try:
                status, body, pause = ask(http, url, name, content, rng.random() < 0.5)
            except httpx.HTTPError as error:
                tally.problems.append(f"{name}: {type(error).__name__}: {error}")
                break
            tally.check("good", name, status, body, told[name])
            if status == 200:
                tally.latencies.append(time.monotonic() - began)
            elif status not in ALLOWED["good"] or time.monotonic() > until:
                tally.left += 1
                break
            else:
                rest(pause)
        rest(rng.uniform(0.5, 1.5) * think)


def watch(service: Service, peaks: dict[int, dict[str, float]], stop: threading.Event) -> None:
    """Keep the most that every worker took."""
    while not stop.wait(0.2):
        for pid, taken in service.workers().items():
            before = peaks.setdefault(pid, taken)
            peaks[pid] = {name: max(before[name], value) for name, value in taken.items()}


def phase(url: str, clips: dict[str, bytes], told: Any, clients: int, seconds: float, think: float) -> dict[str, Any]:
    """Let honest clients loose and return what they saw; every clip has a connection of its own."""
    tally, until = Tally(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    with httpx.Client(timeout=180, trust_env=False, limits=limits) as http:
        threads = [
            threading.Thread(target=honest, args=(http, url, seed, until, think, clips, tally, told))
            for seed in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ranks = np.percentile(tally.latencies, (50, 95, 100)) if tally.latencies else [float("nan")] * 3
    return {
        "seconds": seconds,
        "right": tally.compared - tally.wrong,
        "wrong": tally.wrong,
        "refused": {str(status): n for status, n in sorted(tally.statuses["good"].items()) if status != 200},
        "unanswered": tally.left,
        "problems": len(tally.problems),
        "first_problems": tally.problems[:5],
        "latency": dict(zip(("p50", "p95", "max"), np.round(ranks, 2).tolist(), strict=True)),
    }


def measure(
    command: Sequence[str],
    clips: dict[str, bytes],
    told: dict[str, Any],
    *,
    clients: int = 50,
    calm: float = 60,
    seconds: float = 300,
    think: float = 120,
    bombs: Sequence[str] = tuple(BOMBS),
) -> dict[str, Any]:
    """Return what happened to a service started with ``command``: without an attack, and under one."""
    peaks: dict[int, dict[str, float]] = {}
    spawn = mp.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        service, done = Service(command, Path(place)), threading.Event()
        threading.Thread(target=watch, args=(service, peaks, done), daemon=True).start()
        try:
            before = phase(service.url, clips, told, clients, calm, think)
            stop, queue = spawn.Event(), spawn.Queue()
            attackers = spawn.Process(target=storm, args=(httpx.URL(service.url).port, bombs, stop, queue), daemon=True)
            attackers.start()
            queue.get(timeout=PATIENCE)
            siege = phase(service.url, clips, told, clients, seconds, think)
            stop.set()
            attacks = queue.get(timeout=PATIENCE)
            attackers.join()
            after = httpx.get(f"{service.url}healthz", trust_env=False, timeout=60).status_code
        finally:
            done.set()
            code = service.end()
        found = {
            "clients": clients,
            "think_seconds": think,
            "calm": before,
            "siege": siege,
            "ratio": {k: round(siege["latency"][k] / before["latency"][k], 2) for k in before["latency"]},
            "attacks": attacks,
            "workers": list(peaks.values()),
            "health_after": after,
            "files_left": uploads(Path(place)),
            "exit_code": code,
            "log_bytes": service.log.stat().st_size,
        }
    return found | {"broke": broken(found)}


def broken(found: dict[str, Any]) -> list[str]:
    """Return what is not as it should be, one sentence each."""
    calm, siege = found["calm"], found["siege"]
    odd = {
        name: strange
        for name, (_, right) in BOMBS.items()
        if (strange := set(found["attacks"].get(name, {"answers": ()})["answers"]) - right - CROWDED)
    }
    over = [w for w in found["workers"] if w["counted_mib"] > w["limit_mib"]]
    checks = {
        f"problems: {calm['first_problems'] + siege['first_problems']}": calm["problems"] + siege["problems"],
        f"{siege['refused']} of honest clients refused, {siege['unanswered']} without an answer": siege["unanswered"]
        or sum(siege["refused"].values()) > siege["right"],
        f"a median {found['ratio']['p50']} times the calm one, aim {AIM:g}": not found["ratio"]["p50"] <= AIM,
        f"bombs answered otherwise: {odd}": odd,
        f"workers beyond their limit: {over}": over,
        f"health {found['health_after']} afterwards": found["health_after"] != 200,
        f"left on disk: {found['files_left']}": found["files_left"],
        f"exit code {found['exit_code']}": found["exit_code"],
        f"a log of {found['log_bytes']} bytes": found["log_bytes"] > LOG,
    }
    return [sentence for sentence, bad in checks.items() if bad]


def table(found: dict[str, Any]) -> str:
    """Return the figures as people read them."""
    lines = ["| | right | wrong | refused | unanswered | p50 | p95 | max |", "|---|---|---|---|---|---|---|---|"]
    for name in ("calm", "siege"):
        of = found[name]
        figures = [of["right"], of["wrong"], of["refused"] or 0, of["unanswered"], *of["latency"].values()]
        lines.append(f"| {name} | {' | '.join(map(str, figures))} |")
    lines.append(f"| ratio | | | | | {' | '.join(map(str, found['ratio'].values()))} |")
    lines += [f"{name}: {of['opened']} opened, answered {of['answers']}" for name, of in found["attacks"].items()]
    return "\n".join([*lines, *(f"BROKE: {sentence}" for sentence in found["broke"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="voice-emotion", help="that takes sound alone")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--calm", type=float, default=60)
    parser.add_argument(
        "--think", type=float, default=120, help="seconds between an answer and the next clip, on average"
    )
    parser.add_argument("--save", action="store_true", help="write results/siege.json")
    asked = parser.parse_args()
    clips = {f"voice{seed}.wav": voice(seed) for seed in range(6)}
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place) / name for name in clips]
        for path in paths:
            path.write_bytes(clips[path.name])
        told = offline_answers(asked.run, paths, 1)
    command = [sys.executable, "-m", "polymodal", "serve", asked.run, "--port", "0"]
    found = measure(command, clips, told, calm=asked.calm, seconds=asked.seconds, think=asked.think)
    print(table(found))
    print(json.dumps({"machine": machine(), **found}))
    if asked.save:
        save("siege", found)


if __name__ == "__main__":
    main()
