"""One writer at a time: locks on hidden files beside what is written, which tell who holds them."""

import fcntl
import json
import os
import platform
import shlex
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from dreamctl.core.errors import OutputError
from dreamctl.core.files import unwritable

# The locks of this process by device and inode: the system would give them to it twice, and take both when either is closed.
_held: set[tuple[int, int]] = set()
# One thread at a time opens lock files: closing one that another thread has locked meanwhile would lose the lock.
_opening = threading.Lock()
os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_opening.release)


class Lock:
    """A lock that ends with the process, however it ends, or when it is released or forgotten.

    It lies on a file of its own that nobody else opens: a POSIX lock is lost when its process closes any descriptor of the file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._process = path, descriptor, os.getpid()
        self._close = weakref.finalize(self, _let_go, descriptor, _key(os.fstat(descriptor)))
        self._close.atexit = False

    def release(self) -> None:
        """Remove the file and let go of it; in the child of a fork, which has no lock, only let go."""
        if self._close.alive:
            # Where the folder was moved, another process may have locked a file of this name meanwhile.
            if self._process == os.getpid() and _lies_at(self._path, self._descriptor):
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
            self._close()


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Meanwhile no other process writes this output: a lock on a hidden file beside it, which ends with the process.

    Raises:
        OutputError: another process writes it, or the lock cannot be made.
    """
    lock = lock_file(lock_beside(path), path)
    try:
        yield
    finally:
        lock.release()


def lock_beside(path: Path) -> Path:
    """The lock file of an output that one process at a time writes."""
    named = with_a_name(path)
    return named.parent / f".{named.name}.lock"


def with_a_name(path: Path) -> Path:
    """The same path, absolute where it tells no name to put something beside, e.g. `.`."""
    return Path(os.path.realpath(path)) if path.name in ("", "..") else path


def lock_file(path: Path, output: Path) -> Lock:
    """The lock on a file, which is made where it is not there.

    Args:
        path: of the lock file.
        output: what is written, for messages.

    Raises:
        OutputError: another process has it, which the message names, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = try_lock(path)
    except OSError as error:
        raise unwritable(output, error) from error
    if lock is None:
        who = holder(path) or "another process writes it"
        raise OutputError(f"{output}: {who}; wait for it, stop it, or choose another --out")
    return lock


def try_lock(path: Path) -> Lock | None:
    """The lock on a file, or None while anyone holds it, this process included.

    Raises:
        OSError: the file cannot be made or locked.
    """
    with _opening:
        while not _is_ours(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between opening and locking, the writer before may have removed it: then the lock is on a file that others do not see.
                if _lies_at(path, descriptor):
                    _introduce(path, descriptor)
                    _held.add(_key(os.fstat(descriptor)))
                    return Lock(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        return None


def holder(path: Path) -> str | None:
    """Who holds a lock, in words; None where nobody does. Takes nothing and leaves nothing."""
    with _opening:
        return "this process writes it already" if _is_ours(path) else _another(path)


def _another(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            try:
                # Shared, because that needs no right to write: the file may be another user's.
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _described(file.read())
    except PermissionError:
        return "another user's process may write it"
    except OSError:
        pass
    return None


def _introduce(path: Path, descriptor: int) -> None:
    """Write who we are into a lock file; a disk that is too full for that keeps none."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    who = {"pid": os.getpid(), "host": platform.node(), "since": since, "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(who).encode(), 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _described(content: bytes) -> str:
    try:
        who = json.loads(content)
        began = datetime.fromisoformat(who["since"])
        today = began.date() == datetime.now(began.tzinfo).date()
        since = began.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
        return f"another process writes it: pid {int(who['pid'])} on {who['host']} since {since} ({str(who['command'])[:80]})"
    except (ValueError, KeyError, TypeError):
        return "another process writes it"


def _lies_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    try:
        return _key(path.stat()) in _held
    except OSError:
        return False


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _let_go(descriptor: int, key: tuple[int, int]) -> None:
    _held.discard(key)
    os.close(descriptor)
