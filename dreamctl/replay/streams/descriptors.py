"""Open files of a replay: each is opened once, and no more than so many at a time."""

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from dreamctl.core.errors import InputError

LIMIT = 128  # of the 1024 that a process usually may have
MEND = "leave the files of a replay alone while it is read, and start again"


class OpenFile:
    """A file that is open for reading, closed when nobody refers to it any more: also one that was replaced or removed stays readable.

    Args:
        path: the file.
        inode, size: of the file that is meant, its size where that is known: numbers of files that were removed are given anew.

    Raises:
        InputError: there is no such file any more.
    """

    def __init__(self, path: Path, inode: int, size: int | None = None) -> None:
        self.path, self._descriptor = path, -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            found = os.fstat(self._descriptor)
        except OSError as error:
            raise InputError(f"{path}: is gone since it was opened ({error.strerror}); {MEND}") from error
        if found.st_ino != inode or size not in (None, found.st_size):
            raise InputError(f"{path}: is another file than when it was opened; {MEND}")

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file.

        Raises:
            InputError: it holds fewer.
        """
        try:
            found = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(found) < size:
            raise InputError(f"{self.path}: is shorter than when it was opened; {MEND}")
        return found

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill `target`, bytes, from a place in the file.

        Raises:
            InputError: it holds fewer.
        """
        while len(target):
            try:
                count = os.preadv(self._descriptor, [target], offset)
            except OSError as error:
                raise unreadable(self.path, error) from error
            if count == 0:
                raise InputError(f"{self.path}: is shorter than when it was opened; {MEND}")
            target, offset = target[count:], offset + count


class Descriptors:
    """The open files of a replay; those that were not read for the longest time are closed, and opened again when they are asked for."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._lock = limit, Lock()
        self._open: OrderedDict[tuple[Path, int], OpenFile] = OrderedDict()

    def __len__(self) -> int:
        """Number of files that are open."""
        return len(self._open)

    def of(self, path: Path, inode: int, size: int | None = None) -> OpenFile:
        """A file that is open; who reads keeps hold of it until that is done.

        Raises:
            InputError: it is gone or another one.
        """
        key = (path, inode)
        with self._lock:
            found = self._open.get(key)
            if found is None:
                found = self._open[key] = OpenFile(path, inode, size)
            self._open.move_to_end(key)
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
        return found

    def close(self, path: Path) -> None:
        """Nothing more will be read from a file."""
        with self._lock:
            for key in [key for key in self._open if key[0] == path]:
                del self._open[key]


def unreadable(path: Path, error: OSError) -> InputError:
    """What to say of a file that the system does not read."""
    return InputError(f"{path}: cannot be read ({error.strerror}); look after its disk")
