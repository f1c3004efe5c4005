"""One process at a time: in a run, in a folder of benchmarks, in a cell. Importing this costs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from polymodal.core.errors import RunError

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Folders that this thread is the one writer of."""


@contextmanager
def one_writer(folder: Path, or_else: str = "") -> Iterator[None]:
    """Be the one process that fits, evaluates or reports in the run (or cascade) ``folder`` while the block runs.

    Who only reads takes no lock. A block within a block of the same thread goes on under the outer one's lock.

    Args:
        or_else: what can be done besides waiting for the other process, beginning with a comma.

    Raises:
        RunError: another process writes into it, or nothing can be written there.
    """
    place, held = folder.resolve(), _HELD.get()
    if place in held:
        yield
        return
    with locked(place / ".lock", busy=f"another process fits or evaluates {folder}; wait for it{or_else}"):
        token = _HELD.set(held | {place})
        try:
            yield
        finally:
            _HELD.reset(token)


@contextmanager
def locked(file: Path, *, busy: str = "") -> Iterator[None]:
    """Hold ``file`` while the block runs. The system lets go of it at a kill; on Windows nothing is held.

    Args:
        file: made where it is missing, and left there.
        busy: what RunError says where another process holds it; empty to wait for that process.

    Raises:
        RunError: ``busy``; the file cannot be written.
        FileNotFoundError: its folder is not there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        stream = file.open("w")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(
            f"cannot write {file.parent}: {error.strerror or error}; free space or mend its rights"
        ) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise RunError(busy) from None
        yield
