"""What `kills.py` starts, kills and compares."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kills_fork import Forked

MARK = "POLYMODAL_STARTED_BY_KILLS"
LIMIT = 300
"""Seconds after which a start that was to end counts as hanging."""

PATIENCE = 10.0
"""Seconds that a process may outlive its parent."""

TIMES = {"seconds", "created", "date", "latency_ms", "memory_mib", "train_seconds", "reused", "command"}
"""What JSON says that depends on the clock, on the machine's memory, or on how often was started."""

SHOWN = {".log", ".png", ".html", ".tex", ".csv", ".md", ".lock"}
"""Endings of files that must be there, whose content holds times (or is the journal of a search)."""


@dataclass
class Row:
    """What was seen of a command; ``problems`` says what went wrong."""

    kills: int = 0
    parent_alone: int = 0
    folders: int = 0
    equal: int = 0
    seconds_of_work: float = 0.0
    longest_orphan: float = 0.0
    problems: list[str] = field(default_factory=list)


class Start:
    """``python -m polymodal WORDS`` in ``place/there``, a process group whose processes all carry a mark.

    Temporary files go to ``place/tmp``, caches beside ``place``. Where ``forked`` is set, it is no new interpreter.
    """

    forked = False

    def __init__(self, words: list[str], place: Path) -> None:
        self.place, self.mark, self.began = place, uuid.uuid4().hex, time.time()
        for name in ("there", "tmp"):
            (place / name).mkdir(parents=True, exist_ok=True)
        self.told = place / f"told-{self.mark}"
        settings = {MARK: self.mark, "TMPDIR": str(place / "tmp"), "POLYMODAL_CACHE": str(place.parent / "cache")}
        self.told.touch()
        self.process: Forked | subprocess.Popen[bytes]
        if self.forked:
            self.process = Forked(words, place / "there", settings, self.told)
            return
        with self.told.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "polymodal", *words],
                cwd=place / "there",
                env={"OMP_NUM_THREADS": "1", **os.environ, **settings},
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def until_work(self) -> None:
        """Wait until it has written something, or has ended."""
        while self.process.poll() is None and not any(self._new(path) for path in self.place.glob("there/**/*")):
            time.sleep(0.02)

    def _new(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            return path.lstat().st_mtime > self.began
        return False

    def killed_after(self, seconds: float, alone: bool) -> bool:
        """Kill it, ``alone`` or with all of its group, after ``seconds``; False where it ended before."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            return False
        self.process.kill() if alone else os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait() == -signal.SIGKILL

    def hold_still(self) -> None:
        """Stop all of its group until ``go_on``."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Go on after ``hold_still``."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> int:
        """Wait for its end and return its exit status; one that hangs is killed."""
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def said(self) -> str:
        """Return what it said of an error: all from the last line that begins with one on."""
        text = self.told.read_text().strip()
        at = max(text.rfind(sign) for sign in ("Traceback", "polymodal:", "error:"))
        return text[max(0, at) :][:2000] if text else "nothing"

    def others(self) -> list[int]:
        """Return the processes that carry its mark and live."""
        found, sign = [], f"{MARK}={self.mark}".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if sign in (place / "environ").read_bytes():
                    found.append(int(place.name))
        return found


def outlived(start: Start) -> float:
    """Return the seconds until no process of ``start`` is left; those that do not end are killed after PATIENCE."""
    began = time.monotonic()
    while left := start.others():
        if time.monotonic() - began > PATIENCE:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return PATIENCE
        time.sleep(0.02)
    return time.monotonic() - began


def difference(whole: Path, place: Path) -> list[str]:
    """Return what two folders do not share: names of files, and of what is in them what depends on no clock."""
    one, other = contents(whole / "there"), contents(place / "there")
    return [
        f"{place.name}: {name} {'is missing' if name not in other else 'is too much' if name not in one else 'differs'}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Return path -> content, comparable; of TensorBoard's records, one file a start, only their folders."""
    return {
        str(path.relative_to(folder)): _comparable(path)
        for path in folder.rglob("*")
        if not path.name.startswith("events.out.tfevents")
    }


def _comparable(path: Path) -> bytes:
    if path.is_dir() or path.suffix in SHOWN or path.name == ".lock":
        return b""
    if path.suffix not in (".json", ".jsonl"):
        return path.read_bytes()
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    return json.dumps([timeless(json.loads(line)) for line in lines], sort_keys=True).encode()


def timeless(held: Any) -> Any:
    """Return JSON without TIMES."""
    if isinstance(held, dict):
        return {key: timeless(value) for key, value in held.items() if key not in TIMES}
    return [timeless(value) for value in held] if isinstance(held, list) else held
