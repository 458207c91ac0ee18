"""An output that exists already: refused, gone on with, or replaced when the new one is complete."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.files import names_in, unwritable
from dreamctl.core.locks import with_a_name
from dreamctl.core.session import Session


def check_output(out: Path, session: Session, *, append: bool = False, resume: bool = True) -> None:
    """Refuse to touch what is there unless the session says how; nothing is written to find out.

    Raises:
        UsageError: it exists (the ways on are named), `--append` cannot be used here, or it is the root folder.
        OutputError: its folder cannot be written, or it is one that may not be looked into.
    """
    if not with_a_name(out).name:
        raise UsageError(f"{out}: is the root folder, beside which nothing can be written; choose another --out")
    try:
        os.lstat(out)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise unwritable(out, error) from error
    if session.existing == "append" and not append:
        raise UsageError(f"{out}: --append adds to a replay folder; a single file is written whole, give a folder or --overwrite")
    empty = _is_empty(out)
    if os.path.exists(out) and session.existing == "refuse" and not empty:
        ways = [*(["--resume"] if resume else []), "--overwrite", *(["--append"] if append else [])]
        raise UsageError(f"{out}: exists; use {', '.join(ways)} or another --out")
    # Whoever appends writes nothing beside the folder.
    inside = session.existing == "append" and os.path.isdir(out)
    above = out if inside else next(folder for folder in out.absolute().parents if os.path.exists(folder))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"{out}: {above} {'cannot be written to' if above.is_dir() else 'is no folder'}; choose another --out")


def _is_empty(out: Path) -> bool:
    """Whether a folder is there with nothing in it.

    Raises:
        OutputError: it may not be looked into.
    """
    if not os.path.isdir(out):
        return False
    try:
        return not names_in(out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be looked into ({error.strerror}); choose another --out") from error


def check_file(out: Path, session: Session, *, resume: bool = True) -> None:
    """As `check_output`, for what is one file.

    Raises:
        UsageError: a folder is there, or a device and the like, e.g. /dev/null.
    """
    if os.path.exists(out) and not out.is_file():
        raise UsageError(f"{out}: is {'a folder' if out.is_dir() else 'no file'}, wanted the name of a file; choose another --out")
    check_output(out, session, resume=resume)


def check_directory(out: Path, session: Session, *, append: bool = False, resume: bool = True) -> None:
    """As `check_output`, for what is a folder.

    Raises:
        UsageError: a file is there.
    """
    if os.path.exists(out) and not out.is_dir():
        raise UsageError(f"{out}: is a file, wanted the name of a folder; choose another --out")
    check_output(out, session, append=append, resume=resume)


def remove_output(folder: Path, ours: Sequence[str]) -> None:
    """Remove what shall be written anew.

    Args:
        folder: of which only the entries that fit one of `ours` are removed: the rest was not written by us.
        ours: shell patterns.

    Raises:
        OutputError: an entry cannot be removed.
    """
    try:
        for entry in [entry for pattern in ours for entry in folder.glob(pattern)]:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: cannot remove it ({error.strerror}); choose another --out") from error
