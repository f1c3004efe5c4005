"""Private folders for uploads, removed after use; those of a service that was killed go when the next one starts."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Self

from polymodal.core import OptionError

LOCK = "lock"


class Scratch:
    """A folder of this service alone, inside one folder per user that all services share.

    A service locks its folder as long as it lives; the kernel lifts the lock however it ends. A folder without a lock
    is therefore stale, and whoever starts next removes it.

    Args:
        root: the folder shared by services; by default in the system's folder for temporary files.

    Raises:
        OptionError: the shared folder belongs to somebody else.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or Path(tempfile.gettempdir()) / f"polymodal-serve-{os.getuid()}"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self._root.lstat()
        if self._root.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
            raise OptionError(f"{self._root} is not a private folder of this user; remove it, or set $TMPDIR")
        with (self._root / LOCK).open("w") as guard:
            # Without this lock, a service that starts at the same time would remove a folder not locked yet.
            fcntl.flock(guard, fcntl.LOCK_EX)
            self._remove_stale()
            self.path = Path(tempfile.mkdtemp(dir=self._root))
            self._lock: IO[str] = (self.path / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _remove_stale(self) -> None:
        for folder in self._root.iterdir():
            if folder.is_dir() and not folder.is_symlink() and not _locked(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)

    def folder(self) -> Path:
        """Return a new folder for one request; the caller removes it."""
        return Path(tempfile.mkdtemp(dir=self.path))

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _locked(path: Path) -> bool:
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
