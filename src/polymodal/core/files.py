"""Files that users name. Importing this costs no torch."""

from __future__ import annotations

import stat
from pathlib import Path

from polymodal.core.errors import DataError


def check_regular(path: Path) -> None:
    """Raise DataError for a pipe, a socket or a device, which would be waited for or read for ever.

    What does not exist, or cannot be looked at, is left to whoever opens it.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is a pipe, a socket or a device; copy what comes out of it into a file first")
