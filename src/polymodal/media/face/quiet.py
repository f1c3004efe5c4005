"""Native libraries that talk on standard error, where only polymodal should."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_ONE_AT_A_TIME = Lock()


@contextmanager
def without_lines(noise: re.Pattern[bytes]) -> Iterator[None]:
    """Keep lines that begin with ``noise`` off standard error, even those written by native code.

    The file descriptor belongs to the whole process: what other threads write meanwhile is held back, and comes out
    at the end. Meant for moments.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as heard:
        try:
            sys.stderr.flush()
            true = os.dup(2)
        except (OSError, ValueError, AttributeError):  # closed, or a program without a console
            yield
            return
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(true, 2)
            os.close(true)
            heard.seek(0)
            rest = b"".join(line for line in heard if not noise.match(line))
            while rest:
                rest = rest[os.write(2, rest) :]
