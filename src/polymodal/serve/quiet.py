"""A log that no client can fill: of one kind of line only so many a minute."""

from __future__ import annotations

import logging
import time


class Quiet(logging.Filter):
    """Lets ``most`` lines of a kind pass per minute; the next one then says how many were left out.

    A kind is a logger, a level and a message before its values are put in. Whatever asyncio says of an error of its own
    is one kind, and loses its traceback: the sentence tells all there is.

    Args:
        most: lines of a kind per minute.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line passes."""
        if record.name == "asyncio":
            record.msg, record.args, record.exc_info = str(record.msg).partition("\n")[0][:300], (), None
        kind = (record.name, record.levelno, str(record.msg)[:100])
        now = time.monotonic()
        began, count = self._seen.get(kind, (now, 0))
        if now - began >= 60:
            left_out, began, count = max(0, count - self._most), now, 0
            if left_out:
                record.msg, record.args = f"{record.getMessage()} ({left_out} more such lines in the minute before)", ()
        self._seen[kind] = (began, count + 1)
        return count < self._most


def calm(most: int) -> None:
    """Have every handler of the root logger let at most ``most`` lines of a kind pass per minute."""
    quiet = Quiet(most)
    for handler in logging.getLogger().handlers:
        handler.addFilter(quiet)
