"""What the benchmark scripts share: a fresh process per measurement, memory, machine, results on disk."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class MemoryPeak:
    """Highest private memory (RssAnon) of this process while the block runs, in MiB, sampled every 20 ms.

    Memory-mapped files are left out: the system drops their pages when it needs room.
    """

    def __enter__(self) -> MemoryPeak:
        self.start = self.peak = private_mib()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, private_mib())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def private_mib() -> float:
    """Private memory of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no RssAnon in /proc/self/status; these benchmarks need Linux")


def in_fresh_process(script: str, *arguments: str) -> dict[str, Any]:
    """Run ``script`` with ``arguments`` and return the JSON object it prints last."""
    settings = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command line sets it
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, env=settings
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": date.today().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": round(os.getloadavg()[0], 2),
        "clock": time.strftime("%H:%M"),
    }


def save(name: str, figures: Any) -> None:
    """Write ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n")
    print(f"wrote {RESULTS / name}.json")
