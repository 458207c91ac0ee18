"""A big column reads as one sequence, whatever it is made of and however it grows, is taken over by files and loses its front."""

import numpy as np
import pytest

from dreamctl.core.experience import Array
from dreamctl.replay.streams.columns import Column, MemoryRows

ROWS = np.arange(60, dtype=np.uint8).reshape(20, 3)


def appended(rows: Array) -> Column:
    column = Column(rows.dtype, rows.shape[1:])
    for row in rows:
        column.append(row)
    return column


def read(column: Column, first: int, rows: int) -> Array:
    out = np.zeros((rows, *column.shape), column.dtype)
    column.read(first, out)
    return out


def same(column: Column, rows: Array) -> bool:
    """Every stretch of it is read as it is in the array."""
    assert len(column) == len(rows)
    places = [(first, count) for first in range(len(rows)) for count in range(1, len(rows) - first + 1)]
    return all((read(column, first, count) == rows[first : first + count]).all() for first, count in places)


def test_rows_in_memory_and_of_sources_are_one_sequence() -> None:
    column = Column(ROWS.dtype, (3,))
    column.extend(MemoryRows(ROWS), 5, 2)
    column.extend(MemoryRows(ROWS), 7, 7)
    for row in ROWS[14:]:
        column.append(row)
    assert same(column, ROWS[2:])


def test_a_column_is_a_source_of_another_one() -> None:
    whole, part = appended(ROWS), Column(ROWS.dtype, (3,))
    part.extend(whole, 4, 3)
    part.extend(whole, 6, 12)
    assert same(part, np.concatenate([ROWS[3:7], ROWS[12:18]]))


@pytest.mark.parametrize(("first", "rows"), [(0, 5), (0, 20), (3, 9), (5, 15), (15, 5), (7, 1)])
def test_a_file_takes_the_place_of_rows_in_memory(first: int, rows: int) -> None:
    column = appended(ROWS)
    column.adopt(first, rows, MemoryRows(ROWS[first : first + rows]))
    assert same(column, ROWS)
    column.adopt(first, rows, MemoryRows(ROWS[first : first + rows]))
    assert same(column, ROWS)
    column.append(ROWS[0])
    assert same(column, np.concatenate([ROWS, ROWS[:1]]))


def test_what_is_adopted_is_read_from_there_and_nowhere_else() -> None:
    column = appended(ROWS)
    column.adopt(0, 8, MemoryRows(ROWS[:8] + 100))
    column.adopt(8, 6, MemoryRows(ROWS[8:14] + 100))
    assert same(column, np.concatenate([ROWS[:14] + 100, ROWS[14:]]))
    assert "in memory=6" in repr(column)


def test_a_source_that_replaces_another_may_bring_more_rows() -> None:
    column = Column(ROWS.dtype, (3,))
    column.extend(MemoryRows(ROWS), 4)
    column.extend(MemoryRows(ROWS), 5, 4)
    column.adopt(4, 16, MemoryRows(ROWS[4:]))
    assert same(column, ROWS)


@pytest.mark.parametrize("gone", [0, 1, 4, 6, 13, 20])
def test_the_front_goes_and_the_rest_moves_up(gone: int) -> None:
    column = appended(ROWS)
    column.adopt(0, 4, MemoryRows(ROWS[:4]))
    column.adopt(4, 5, MemoryRows(ROWS[4:9]))
    column.drop(gone)
    assert same(column, ROWS[gone:])
    column.append(ROWS[0])
    assert same(column, np.concatenate([ROWS[gone:], ROWS[:1]]))
