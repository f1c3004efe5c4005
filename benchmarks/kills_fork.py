"""`polymodal` in a fork of this process, which has imported everything: a new interpreter takes seconds."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

NEEDED = [
    "polymodal.cli.main",
    "polymodal.train.fit",
    "polymodal.train.run",
    "polymodal.train.loop",
    "polymodal.train.calibrate",
    "lightning_fabric.loggers.tensorboard",
    "torch.utils.tensorboard",
    "polymodal.bench.run",
    "polymodal.bench.output",
    "polymodal.bench.page",
    "matplotlib.pyplot",
    "polymodal.media.folder.extract",
    "polymodal.media.pipeline",
    "datasets",
]


class Forked:
    """What of ``subprocess.Popen`` is used here, for ``polymodal WORDS`` in a session of its own."""

    def __init__(self, words: list[str], place: Path, settings: dict[str, str], told: Path) -> None:
        for name in NEEDED:
            importlib.import_module(name)
        self.status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._become(words, place, settings, told)

    def _become(self, words: list[str], place: Path, settings: dict[str, str], told: Path) -> None:
        status = 70
        try:
            os.setsid()
            os.chdir(place)
            os.environ |= settings
            file = os.open(told, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.argv = ["polymodal", *words]
            sys.modules["__main__"] = ModuleType("__main__")  # workers are to import nothing of this script
            from polymodal.cli.main import main

            status = main(words)
            sys.stdout.flush()
        finally:
            os._exit(status)

    def poll(self) -> int | None:
        """Return the exit status, negative where a signal ended it; None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, timeout: float = float("inf")) -> int:
        """Return the exit status; raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("polymodal", timeout)
            time.sleep(0.01)
        return status

    def kill(self) -> None:
        """Kill it alone."""
        os.kill(self.pid, signal.SIGKILL)
