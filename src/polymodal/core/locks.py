"""One process at a time: in a run, in a folder of benchmarks, in a cell. Importing this costs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polymodal.core.errors import RunError


@contextmanager
def locked(file: Path, *, busy: str = "") -> Iterator[None]:
    """Hold ``file`` while the block runs. The system lets go of it at a kill; on Windows nothing is held.

    Args:
        file: made where it is missing, and left there.
        busy: what RunError says where another process holds it; empty to wait for that process.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise RunError(busy) from None
        yield
