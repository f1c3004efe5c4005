"""How a worker process begins. Imports nothing heavy: libraries read these settings when they are loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from typing import Any


def begin(stop: Any, threads: int = 1) -> None:
    """Make this process modest with threads, deaf to Ctrl-C, and mortal.

    Args:
        stop: event; the process ends when it is set, or when the process that started it is gone: an executor's workers
            would wait for work for ever.
        threads: of numerical libraries.
    """
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):  # a script that imports it at its top: it has read its settings already
        torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()


def _watch(stop: Any) -> None:
    parent = multiprocessing.parent_process()
    while not stop.wait(1.0) and parent is not None and parent.is_alive():
        pass
    os._exit(1)
