"""How much a process that reads what strangers sent takes: of rows, words and memory. Importing this costs no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.core.errors import DataError
from polymodal.core.options import Count, settle

MIB = 2**20

_SAID = ("allocate memory", "bad_alloc", "bad allocation", "out of memory", "not enough memory", "cannot allocate")
"""What libraries say where Python would raise MemoryError."""


class TooMuchError(DataError):
    """Input that is larger than what is taken; said before any of it is worked on where that can be seen."""


@dataclass(frozen=True)
class Limits:
    """The most that is taken of one request or one clip.

    Args:
        rows: of features.
        text: characters of one row, or of one segment of a transcript.
        segments: of a transcript.
        words: of a transcript, all segments together.
    """

    rows: Count = 1_000_000
    text: Count = 1_000_000
    segments: Count = 100_000
    words: Count = 1_000_000

    def __post_init__(self) -> None:
        settle("limits", self)

    def check_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raise TooMuchError for too many rows, or too long a text in one."""
        if len(rows) > self.rows:
            raise TooMuchError(f"there are {len(rows):,} rows, more than the {self.rows:,} that are taken; send fewer")
        for number, row in enumerate(rows):
            for name, value in row.items():
                if isinstance(value, str) and len(value) > self.text:
                    raise TooMuchError(
                        f"row {number}: {name[:40]} has {len(value):,} characters, more than the {self.text:,} that "
                        "are taken; cut it into rows"
                    )

    def check_transcript(self, name: str, texts: Sequence[str]) -> None:
        """Raise TooMuchError for a transcript, called ``name``, with too many segments, words or characters in one."""
        if len(texts) > self.segments:
            what = f"{len(texts):,} segments, more than the {self.segments:,}"
        elif (longest := max(map(len, texts), default=0)) > self.text:
            what = f"a segment of {longest:,} characters, more than the {self.text:,}"
        elif (words := sum(len(text.split()) for text in texts)) > self.words:
            what = f"{words:,} words, more than the {self.words:,}"
        else:
            return
        raise TooMuchError(f"{name} has {what} that are taken; cut clip and transcript into parts")


def limit_memory(mib: int) -> bool:
    """Let this process, and those it starts from now on, take ``mib`` MiB more than it holds; 0 for no limit.

    What is counted is private memory that can be written (``RLIMIT_DATA``): the address space of torch, OpenBLAS and
    CUDA is many times what they use, mapped files and the stacks they reserve included. Beyond it, an allocation fails:
    Python raises MemoryError, a library that does not expect that ends the process.

    Returns:
        whether there is a limit now; there is none where the system cannot count (only Linux does).
    """
    if not mib or sys.platform != "linux":
        return False
    import resource

    held = _held()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + mib * MIB
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    return True


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that there was no memory: Python's own, or that of torch, ONNX Runtime or a decoder."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(word in str(error).lower() for word in _SAID)
    )


@contextmanager
def reading(name: str, mib: int) -> Iterator[None]:
    """Raise ``too_much_memory`` where the block, which reads ``name``, is given no more memory.

    Args:
        name: of the clip, for the message.
        mib: as for ``limit_memory``.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if out_of_memory(error):
            raise too_much_memory(name, mib) from None
        raise


def too_much_memory(name: str, mib: int) -> TooMuchError:
    """Return the error to raise where ``name`` needs more than ``limit_memory`` allows."""
    return TooMuchError(
        f"{name} needs more than the {mib} MiB of memory that reading it may take; it is damaged or far too large: "
        "cut it into parts, or raise --memory"
    )


def _held() -> int:
    """Return the bytes that RLIMIT_DATA counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
