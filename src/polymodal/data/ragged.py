"""Variable-length rows without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_NUMBERS = 2**26
"""Most numbers in a block."""


class Ragged:
    """A column of ``(time, width)`` arrays whose lengths differ, kept as flat buffers.

    A buffer may be memory-mapped, so a column can be larger than memory; indexing returns a view, never a copy.
    A vector column is a Ragged whose rows have length 1 (0 where absent). Steps may have more than one axis: the rows
    of frames are ``(time, channels, height, width)`` of whole numbers from 0 to 255, those of images have length 1.

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
    def from_rows(cls, rows: Iterable[Array], step: int | tuple[int, ...], dtype: type = np.float32) -> Ragged:
        """Copy ``rows``, each ``(time, *step)``, into one flat buffer."""
        shape = (step,) if isinstance(step, int) else step
        kept: list[Array] = [np.asarray(r, dtype=dtype).reshape(-1, *shape) for r in rows]
        offsets = np.cumsum([0] + [len(r) for r in kept])
        values = np.concatenate(kept) if kept else np.zeros((0, *shape), dtype)
        return cls([(values, offsets)])

    @property
    def step(self) -> tuple[int, ...]:
        """Shape of a step."""
        return self.chunks[0][0].shape[1:]

    @property
    def width(self) -> int:
        """Numbers per step."""
        return int(np.prod(self.step))

    @property
    def dtype(self) -> type:
        """What is stored: uint8 pixels, else float32."""
        return np.uint8 if len(self.step) > 1 else np.float32

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> Array:
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        values, offsets = self.chunks[chunk]
        i = row - int(self._starts[chunk])
        return values[offsets[i] : offsets[i + 1]]

    def blocks(self) -> Iterator[Array]:
        """Yield all steps in order, ``(steps, *step)``, in blocks of bounded memory."""
        size = min(65536, max(1, _NUMBERS // self.width))
        for values, offsets in self.chunks:
            for start in range(int(offsets[0]), int(offsets[-1]), size):
                yield np.asarray(values[start : min(start + size, int(offsets[-1]))])

    def select(self, rows: Sequence[int] | Array) -> Ragged:
        """Return a copy that holds only ``rows``, in that order."""
        return Ragged.from_rows((self[int(r)] for r in rows), self.step, self.dtype)

    def view(self, rows: Sequence[int] | Array) -> Ragged:
        """Return only ``rows``, in that order, without copying a step: rows that are neighbours here share a chunk."""
        wanted = np.asarray(rows, dtype=np.int64)
        homes = np.searchsorted(self._starts, wanted, side="right") - 1
        cuts = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(homes) != 0)) + 1
        chunks = []
        for part in np.split(np.arange(len(wanted)), cuts) if len(wanted) else ():
            values, offsets = self.chunks[homes[part[0]]]
            first = int(wanted[part[0]] - self._starts[homes[part[0]]])
            own = offsets[first : first + len(part) + 1]
            chunks.append((values[own[0] : own[-1]], own - own[0]))
        return Ragged(chunks or [(self.chunks[0][0][:0], np.zeros(1, np.int64))])
