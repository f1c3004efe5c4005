"""Writing files that people look at: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from polymodal.core import DataError


def write_whole(path: Path, content: bytes) -> Path:
    """Replace ``path`` by ``content`` atomically and return it; its folder is made.

    Raises:
        DataError: it cannot be written; what was there stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        if partial.is_file():
            partial.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror or error}; name another file or free space") from None
    return path
