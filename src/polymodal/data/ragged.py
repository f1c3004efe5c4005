"""Variable-length rows without padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Ragged:
    """A column of ``(time, width)`` arrays whose lengths differ, kept as flat buffers.

    A buffer may be memory-mapped, so a column can be larger than memory; indexing returns a view, never a copy.
    A vector column is a Ragged whose rows have length 1 (0 where absent).

    Args:
        chunks: pairs of ``values`` (steps, width) and ``offsets`` (rows + 1,); row ``i`` of a chunk is
            ``values[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, chunks: Sequence[tuple[Array, Array]]) -> None:
        if not chunks:
            raise ValueError("a Ragged column needs at least one chunk; use an empty one for no rows")
        self.chunks = [(values, np.asarray(offsets, dtype=np.int64)) for values, offsets in chunks]
        self._starts = np.cumsum([0] + [len(offsets) - 1 for _, offsets in self.chunks])
        self.lengths: Array = np.concatenate([np.diff(offsets) for _, offsets in self.chunks])

    @classmethod
    def from_rows(cls, rows: Iterable[Array], width: int) -> Ragged:
        """Copy ``rows``, each ``(time, width)``, into one flat float32 buffer."""
        kept = [np.asarray(r, dtype=np.float32).reshape(-1, width) for r in rows]
        offsets = np.cumsum([0] + [len(r) for r in kept])
        values = np.concatenate(kept) if kept else np.zeros((0, width), np.float32)
        return cls([(values, offsets)])

    @property
    def width(self) -> int:
        """Features per step."""
        return int(self.chunks[0][0].shape[1])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> Array:
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        values, offsets = self.chunks[chunk]
        i = row - int(self._starts[chunk])
        return values[offsets[i] : offsets[i + 1]]

    def select(self, rows: Sequence[int] | Array) -> Ragged:
        """Return a copy that holds only ``rows``, in that order."""
        return Ragged.from_rows((self[int(r)] for r in rows), self.width)
