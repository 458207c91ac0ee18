"""Decoded rows of big columns, kept in memory up to a limit."""

from threading import Lock
from typing import Protocol

import numpy as np

from dreamctl.core.experience import Array
from dreamctl.replay.streams.memory import aligned


class Blocks(Protocol):
    """Rows that are decoded block by block."""

    block_rows: int

    def block(self, number: int) -> Array:
        """The rows of a block, at most `block_rows`."""


class Cache:
    """Decoded rows of one key, each in a place that its number alone decides.

    Every source reserves numbers for its rows when it is first read, that of a live shard for all that it can hold, and row n lies in
    place n modulo the capacity, if that holds it now and not another row. So rows that follow one another lie side by side, a window is
    one copy, and as long as no more numbers are reserved than there are places no row is decoded twice. With more, uniform draws find as
    large a share as the best order of eviction would leave them, but for numbers that have no row yet or none any more: those of a live
    shard that was sealed, or of one that was removed.

    Args:
        dtype, shape: of a row.
        capacity: number of places; memory that was never used costs nothing.
    """

    def __init__(self, dtype: np.dtype[np.generic], shape: tuple[int, ...], capacity: int) -> None:
        self.capacity = capacity
        self._rows = aligned((capacity, *shape), dtype)
        # Eight bytes a place: the number of its row less the place, which is the same for rows side by side, and the capacity, which makes
        # it differ from nothing. As bytes, because one comparison of them is all that a window in the cache costs.
        self._held = bytearray(8 * capacity)
        self._reserved, self._lock = 0, Lock()
        # What sources know it by: by itself they would keep it, and its memory, when it is no longer wanted.
        self.identity = object()

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
        rows = len(out)
        with self._lock:
            if self._found(base + first, out):
                return
            at = 0
            while at < rows:
                number, inside = divmod(first + at, source.block_rows)
                taken = min(rows - at, source.block_rows - inside)
                part = out[at : at + taken]
                if not self._found(base + first + at, part):
                    block = source.block(number)
                    part[...] = block[inside : inside + taken]
                    self._keep(base + number * source.block_rows, block)
                at += taken

    def _found(self, row: int, out: Array) -> bool:
        """Fill `out` with the rows from number `row` on, if all of them are here."""
        place, rows = row % self.capacity, len(out)
        if self._held[8 * place : 8 * (place + rows)] != self._marks(row - place, rows):
            return False
        out[...] = self._rows[place : place + rows]
        return True

    def _keep(self, row: int, block: Array) -> None:
        """Put rows in their places, around the end where they lie across it."""
        place = row % self.capacity
        fitting = min(len(block), self.capacity - place)
        self._rows[place : place + fitting] = block[:fitting]
        self._held[8 * place : 8 * (place + fitting)] = self._marks(row - place, fitting)
        if 0 < len(block) - fitting <= place:
            self._keep(row + fitting, block[fitting:])

    def _marks(self, behind: int, rows: int) -> bytes:
        """What is held of so many places side by side."""
        mark = (behind + self.capacity).to_bytes(8, "little")
        return mark * rows


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
        self._base: tuple[object, int] = (None, 0)

    def read(self, shelf: Shelf, source: Blocks, first: int, out: Array) -> bool:
        """Fill `out` by way of the cache; whether there is one.

        Raises:
            InputError: as `source` does.
        """
        cache = shelf.cache
        if cache is None:
            return False
        owner, base = self._base
        if owner is not cache.identity:
            base = cache.reserve(self._rows)
            self._base = cache.identity, base
        cache.read(source, base, first, out)
        return True
