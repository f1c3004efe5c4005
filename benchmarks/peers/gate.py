"""How the benchmark and a worker take turns: the line ``go`` starts a unit of work, a line of JSON is its answer.

Both sides use it, each in its own virtual environment: nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any


class Stopped(BaseException):
    """The benchmark has closed the line; not an ``Exception``, so that no trainer can swallow it."""


class Gate:
    """A worker's end. What else is written to standard output goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._started: float | None = None
        self._marks: list[float] = []

    def say(self, **figures: Any) -> None:
        """Answer."""
        self._out.write(json.dumps(figures) + "\n")
        self._out.flush()

    def turn(self) -> None:
        """End the unit that runs, if any, and wait for the next; raises ``Stopped`` where there is none."""
        if self._started is not None:
            now = time.perf_counter()
            steps = [round(end - start, 4) for start, end in pairwise([*self._marks, now])]
            peak = memory_mib("VmHWM")
            self.say(seconds=round(now - self._started, 4), steps=steps, peak_mib=peak, now_mib=memory_mib("VmRSS"))
        if sys.stdin.readline().strip() != "go":
            raise Stopped
        self._marks.clear()
        self._started = time.perf_counter()

    def mark(self) -> None:
        """Note that a step begins."""
        self._marks.append(time.perf_counter())


def memory_mib(field: str) -> int:
    """Return ``VmRSS`` (resident now) or ``VmHWM`` (its peak) of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) // 1024
    raise RuntimeError(f"no {field} in /proc/self/status; this benchmark needs Linux")


def forget_peak() -> None:
    """Let ``VmHWM`` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")
