"""An output that exists already: refused, gone on with, or replaced when the new one is complete."""

import shutil
from pathlib import Path

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.session import Session


def check_output(out: Path, session: Session, *, append: bool = False, resume: bool = True) -> None:
    """Refuse to touch what is there unless the session says how.

    Raises:
        UsageError: it exists (the ways on are named), or `--append` cannot be used here.
        OutputError: its folder does not exist or cannot be written.
    """
    if session.existing == "append" and not append:
        raise UsageError(f"{out}: --append adds to a replay folder; a single file is written whole, give a folder or --overwrite")
    if out.exists() and session.existing == "refuse" and not (out.is_dir() and not any(out.iterdir())):
        ways = [*(["--resume"] if resume else []), "--overwrite", *(["--append"] if append else [])]
        raise UsageError(f"{out}: exists; use {', '.join(ways)} or another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out.parent}: cannot make the folder: {error.strerror}; choose another --out") from error


def remove_output(out: Path) -> None:
    """Remove a file or a folder that shall be written anew, with whatever an interrupted run left beside it."""
    for path in (out, out.with_name(out.name + ".parts")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
