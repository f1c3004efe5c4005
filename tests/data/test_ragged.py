"""Rows of different length in flat buffers."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.data.ragged import Ragged

ROWS = [np.arange(6.0).reshape(3, 2), np.zeros((0, 2)), np.full((1, 2), 9.0), np.arange(4.0).reshape(2, 2)]


def _equal(column: Ragged, rows: list[np.ndarray]) -> bool:
    return len(column) == len(rows) and all(np.array_equal(column[i], r) for i, r in enumerate(rows))


def test_rows_come_back_as_they_went_in() -> None:
    column = Ragged.from_rows(ROWS, 2)
    assert _equal(column, ROWS)
    assert column.lengths.tolist() == [3, 0, 1, 2]
    assert (column.width, column[0].dtype) == (2, np.float32)


def test_a_row_is_a_view_of_the_buffer() -> None:
    column = Ragged.from_rows(ROWS, 2)
    assert np.shares_memory(column[0], column.chunks[0][0])


def test_chunks_read_as_one_column_even_from_the_middle_of_a_buffer() -> None:
    buffer = np.arange(20.0).reshape(10, 2)
    column = Ragged([(buffer, np.array([4, 6, 7])), (buffer, np.array([0, 0, 3]))])
    assert _equal(column, [buffer[4:6], buffer[6:7], buffer[0:0], buffer[0:3]])


def test_selecting_rows_copies_them_in_the_order_asked_for() -> None:
    column = Ragged.from_rows(ROWS, 2)
    chosen = column.select([3, 0, 0, 1])
    assert _equal(chosen, [ROWS[3], ROWS[0], ROWS[0], ROWS[1]])
    assert not np.shares_memory(chosen.chunks[0][0], column.chunks[0][0])


def test_no_rows_need_an_empty_chunk() -> None:
    assert len(Ragged.from_rows([], 5)) == 0
    with pytest.raises(ValueError, match="at least one chunk"):
        Ragged([])
