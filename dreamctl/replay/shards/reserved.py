"""A file whose space is reserved before HDF5 touches it: HDF5 that runs into a full disk may take the process with it."""

import errno
import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from dreamctl.core.files import replacing
from dreamctl.replay.format import LIBVER
from dreamctl.replay.shards.deflating import Bytes

STEP = 1 << 20
# What HDF5 adds of its own: headers, groups, the tables of chunks.
OVERHEAD = 1 << 20
CHUNK_OVERHEAD = 64
# Larger pieces begin at multiples of 64 bytes, so that /commit lies within one page and is written in one piece.
ALIGNMENT = {"alignment_threshold": 32, "alignment_interval": 64}


class ReservedFile:
    """An HDF5 file being made, and how far its disk space is reserved.

    Attributes:
        file: to be written to only within what `reserve` was asked for.
    """

    def __init__(self, path: Path, extra: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._needed = self._reserved = 0
        try:
            write_fully(self._descriptor, _empty_image(), 0)
            self.reserve(len(_empty_image()) + OVERHEAD + extra)
            # No other process knows this file, so there is nobody to lock it against.
            self.file = h5py.File(path, "r+", libver=LIBVER, locking=False, **ALIGNMENT)
        except BaseException:
            os.close(self._descriptor)
            raise

    def reserve(self, size: int) -> None:
        """See that so many bytes more can be written.

        Raises:
            OSError: the disk has no room for them.
        """
        self._needed += size
        if self._needed > self._reserved:
            end = max(self._needed, self._reserved + STEP if self._reserved else 0)
            allocate(self._descriptor, self._reserved, end - self._reserved)
            self._reserved = end

    def finish(self) -> None:
        """Close the HDF5 file, give back what was reserved too much, and make it durable."""
        self.file.close()
        # HDF5's own end of the file: bytes 28 to 35 of a superblock of version 2 or 3.
        os.ftruncate(self._descriptor, int.from_bytes(os.pread(self._descriptor, 8, 28), "little"))
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file, whatever became of it."""
        try:
            self.file.close()
        finally:
            os.close(self._descriptor)


@contextmanager
def reserved_file(path: Path, extra: int = 0) -> Iterator[ReservedFile]:
    """A file that is built beside `path` and renamed over it when the block ends well.

    Args:
        path: where.
        extra: bytes that are known to be needed, reserved at once.

    Raises:
        OutputError: it cannot be written; nothing is left behind and an older file of that name is untouched.
    """
    with replacing(path) as temporary:
        made = ReservedFile(temporary, extra)
        try:
            yield made
            made.finish()
        finally:
            made.close()


def allocate(descriptor: int, first: int, size: int) -> None:
    """Reserve bytes of a file; those behind its end read as zeros.

    Raises:
        OSError: the disk has no room for them.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, first, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        else:
            return
    # macOS and some file systems cannot reserve: zeros that were really written take the room as well.
    zeros, end = bytes(1 << 20), first + size
    for start in range(max(first, os.fstat(descriptor).st_size), end, len(zeros)):
        write_fully(descriptor, zeros[: end - start], start)


def write_fully(descriptor: int, data: Bytes, offset: int) -> None:
    """`os.pwrite` of all of it: a disk that fills up takes a part first and refuses the rest.

    Raises:
        OSError: not all of it could be written.
    """
    done = os.pwrite(descriptor, data, offset)
    size = memoryview(data).nbytes
    while done < size:
        done += os.pwrite(descriptor, memoryview(data).cast("B")[done:], offset + done)


@functools.cache
def _empty_image() -> bytes:
    """The bytes of an HDF5 file that holds nothing, made in memory and closed: not every HDF5 gives a right checksum before."""
    image = io.BytesIO()
    h5py.File(image, "w", libver=LIBVER).close()
    return image.getvalue()
