"""Decoded rows of big columns, kept in memory up to a limit."""

from threading import Lock
from typing import Protocol

import numpy as np

from dreamctl.core.experience import Array
from dreamctl.replay.memory import aligned


class Blocks(Protocol):
    """Rows that are decoded block by block."""

    block_rows: int

    def block(self, number: int) -> Array:
        """The rows of a block, at most `block_rows`."""


class Cache:
    """Decoded rows of one key, each in a place that its number alone decides.

    Every source reserves numbers for its rows, and row n lies in place n modulo the capacity, if that holds it now and not another row.
    So rows that follow one another lie side by side, a window is one copy, and as long as there are no more rows than places none is
    decoded twice. With more, uniform draws find as large a share as the best order of eviction would leave them.

    Args:
        dtype, shape: of a row.
        capacity: number of places; memory that was never used costs nothing.
    """

    def __init__(self, dtype: np.dtype[np.generic], shape: tuple[int, ...], capacity: int) -> None:
        self.capacity = capacity
        self._rows = aligned((capacity, *shape), dtype)
        # Of each place: the number of its row less the place, a multiple of the capacity; the same for rows side by side.
        self._held = np.full(capacity, -1, np.int64)
        self._reserved, self._lock = 0, Lock()

    def reserve(self, rows: int) -> int:
        """The number of the first of so many rows of a source."""
        with self._lock:
            first = self._reserved
            self._reserved += rows
            return first

    def read(self, source: Blocks, base: int, first: int, out: Array) -> None:
        """Fill `out` (n, ...) with rows of a source from `first` on; what is not here is decoded and stays.

        Args:
            source: decodes.
            base: the number of its first row.
            first: row of the source.
            out: to be filled.

        Raises:
            InputError: as `source` does.
        """
        place, rows = (base + first) % self.capacity, len(out)
        with self._lock:
            if place + rows <= self.capacity and (self._held[place : place + rows] == base + first - place).all():
                out[...] = self._rows[place : place + rows]
                return
            at = 0
            while at < rows:
                number, inside = divmod(first + at, source.block_rows)
                taken = min(rows - at, source.block_rows - inside)
                self._read_block(source, base, number, inside, out[at : at + taken])
                at += taken

    def _read_block(self, source: Blocks, base: int, number: int, inside: int, out: Array) -> None:
        """Rows of one block, from here if all of them are."""
        row, rows = base + number * source.block_rows + inside, len(out)
        place = row % self.capacity
        if place + rows <= self.capacity and (self._held[place : place + rows] == row - place).all():
            out[...] = self._rows[place : place + rows]
            return
        block = source.block(number)
        out[...] = block[inside : inside + rows]
        self._keep(base + number * source.block_rows, block)

    def _keep(self, row: int, block: Array) -> None:
        """Put rows in their places, around the end where they lie across it."""
        place = row % self.capacity
        fitting = min(len(block), self.capacity - place)
        self._rows[place : place + fitting], self._held[place : place + fitting] = block[:fitting], row - place
        if 0 < len(block) - fitting <= place:
            self._keep(row + fitting, block[fitting:])


class Shelf:
    """Where the sources of one key find their cache, if there is one: a replay has a shelf a key before anybody says what it may hold."""

    def __init__(self) -> None:
        self.cache: Cache | None = None


class Kept:
    """The numbers that rows of one source have in the cache of its shelf.

    Args:
        rows: how many numbers it needs.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._base: tuple[Cache, int] | None = None

    def read(self, shelf: Shelf, source: Blocks, first: int, out: Array) -> bool:
        """Fill `out` by way of the cache; whether there is one.

        Raises:
            InputError: as `source` does.
        """
        cache = shelf.cache
        if cache is None:
            return False
        if self._base is None or self._base[0] is not cache:
            self._base = cache, cache.reserve(self._rows)
        cache.read(source, self._base[1], first, out)
        return True
