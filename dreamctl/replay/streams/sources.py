"""Where the rows of a big column lie on disk: sources that read them from a shard, without HDF5."""

import math
from functools import cached_property
from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.replay.format import step_fields
from dreamctl.replay.shards import check
from dreamctl.replay.shards.chunks import DEFLATE, decoded
from dreamctl.replay.shards.deflating import decompress_into
from dreamctl.replay.shards.located import Chunked, Contiguous, Layout
from dreamctl.replay.streams.cache import Cache, Kept, Shelf
from dreamctl.replay.streams.columns import Source
from dreamctl.replay.streams.descriptors import Descriptors, OpenFile


class Sources:
    """How the big columns of a replay are read: from files of which only so many are open, and one cache a key."""

    def __init__(self, spec: TaskSpec) -> None:
        self._fields = {field.name: field for field in step_fields(spec) if field.big}
        self._shelves = {name: Shelf() for name in self._fields}
        self._files = Descriptors()

    def keep(self, size: int) -> None:
        """Keep up to so many bytes of decoded rows from now on; 0 keeps none, and what was kept is forgotten."""
        rows = size // max(1, sum(field.row_bytes for field in self._fields.values()))
        for name, shelf in self._shelves.items():
            field = self._fields[name]
            shelf.cache = Cache(np.dtype(field.dtype), field.shape, rows) if rows else None

    def of(self, layout: Layout, name: str, file: OpenFile | None = None, known: Source | None = None) -> Source:
        """The rows of a dataset.

        Args:
            layout: where they lie.
            name: of their column.
            file: one that is to be kept open because another will take its place; others are opened when they are read.
            known: what this gave for the same file when it had fewer rows: it goes on with what it has kept.
        """
        if isinstance(known, PlainRows):
            known.rows = layout.rows
            return known
        match layout.storage:
            case Contiguous(offset):
                return PlainRows(layout, offset, self._files, self._shelves[name], file)
            case Chunked() as chunked:
                return ChunkedRows(layout, chunked, self._files, self._shelves[name])

    def forget(self, path: Path) -> None:
        """A file that was removed need not stay open, and its space on disk not taken."""
        self._files.close(path)


class PlainRows:
    """Rows that lie in the file as they are, such as those of a live shard, or taken from the shelf.

    Args:
        layout, offset: where they lie.
        files: opens the file.
        shelf: where rows are kept.
        file: it, where it is to be kept open.

    Attributes:
        rows: that are committed; of a live shard they grow.
    """

    block_rows = 16

    def __init__(self, layout: Layout, offset: int, files: Descriptors, shelf: Shelf, file: OpenFile | None = None) -> None:
        self._layout, self._offset, self._files, self._shelf, self._file = layout, offset, files, shelf, file
        self._row_bytes = math.prod(layout.shape) * layout.dtype.itemsize
        self.rows = layout.rows
        # There may be more later, but not more than there is a place for.
        self._kept = Kept(layout.capacity)

    def read(self, first: int, out: Array) -> None:
        """Fill `out` (n, ...) with the rows from `first` on.

        Raises:
            InputError: the file is shorter than it was, or they are not finite.
        """
        if not self._kept.read(self._shelf, self, first, out):
            self._read(first, out)

    def block(self, number: int) -> Array:
        """The rows of a block (at most `block_rows`, ...).

        Raises:
            InputError: as `read` does.
        """
        first = number * self.block_rows
        found: Array = np.empty((min(self.block_rows, self.rows - first), *self._layout.shape), self._layout.dtype)
        self._read(first, found)
        return found

    def _read(self, first: int, out: Array) -> None:
        # Doubles of an import are read as they lie, and become what the task has.
        straight = out.flags.c_contiguous and out.dtype == self._layout.dtype
        target = out if straight else np.empty(out.shape, self._layout.dtype)
        file = self._file or self._files.of(self._layout.path, self._layout.inode, self._layout.size)
        file.read_into(memoryview(target.data).cast("B"), self._offset + first * self._row_bytes)
        if target.dtype.kind == "f":
            check.finite(self._layout.path, self._layout.name.removeprefix("/steps/"), target, first)
        if target is not out:
            out[...] = target


class ChunkedRows:
    """Rows of a sealed shard, decoded chunk by chunk when they are asked for, or taken from the shelf.

    Args:
        layout, chunked: where they lie.
        files: opens the file.
        shelf: where decoded rows are kept.
    """

    def __init__(self, layout: Layout, chunked: Chunked, files: Descriptors, shelf: Shelf) -> None:
        self._layout, self._chunked, self._files, self._shelf = layout, chunked, files, shelf
        self.rows, self.block_rows = layout.rows, chunked.shape[0]
        self._kept = Kept(layout.rows)
        self._plain = chunked.filters == (DEFLATE,)

    def read(self, first: int, out: Array) -> None:
        """Fill `out` (n, ...) with the rows from `first` on.

        Raises:
            InputError: the file is gone, another one, or damaged; or they are not finite.
        """
        if self._kept.read(self._shelf, self, first, out):
            return
        at, rows, height = 0, len(out), self.block_rows
        while at < rows:
            number, inside = divmod(first + at, height)
            taken = min(rows - at, height - inside)
            if taken == height and out.dtype == self._layout.dtype:
                self._decode(number, out[at : at + taken])
            else:
                out[at : at + taken] = self.block(number)[inside : inside + taken]
            at += taken

    @cached_property
    def _table(self) -> list[tuple[int, int, int]]:
        """Offset, size and mask of each chunk: a list, because they are taken one by one, and made late, because many are never read."""
        chunked = self._chunked
        return list(zip(chunked.offsets.tolist(), chunked.sizes.tolist(), chunked.masks.tolist(), strict=True))

    def block(self, number: int) -> Array:
        """The rows of a block (at most `block_rows`, ...), decoded.

        Raises:
            InputError: as `read` does.
        """
        found: Array = np.empty(self._chunked.shape, self._layout.dtype)
        self._decode(number, found)
        # The last chunk of a dataset is as large as the others.
        return found[: self.rows - number * self.block_rows]

    def _decode(self, number: int, out: Array) -> None:
        """Fill `out`, of the shape of a chunk, with one."""
        layout, chunked = self._layout, self._chunked
        offset, size, mask = self._table[number]
        raw = self._files.of(layout.path, layout.inode, layout.size).read(offset, size)
        first = number * self.block_rows
        try:
            if self._plain and not mask:
                decompress_into(raw, out)
            else:
                out[...] = np.ndarray(chunked.shape, layout.dtype, decoded(raw, chunked.filters, mask, layout.dtype.itemsize, out.nbytes))
        except ValueError as error:
            place = f"{layout.path}: {layout.name} row {first}"
            raise InputError(f"{place} is damaged (its chunk {error}); copy or collect it again") from error
        if layout.dtype.kind == "f":
            check.finite(layout.path, layout.name.removeprefix("/steps/"), out[: self.rows - first], first)
