"""An output that is written beside its place and takes it when it is complete: a file or a folder of shards."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.files import sync_folder, unwritable
from dreamctl.core.locks import sole_writer, with_a_name
from dreamctl.core.session import Session
from dreamctl.replay.editing.recording import Tick
from dreamctl.replay.folder import SHARDS, check_idle, parts_folder, strangers
from dreamctl.stages.output import check_directory, check_file


def check_replay(out: Path, session: Session, sources: Sequence[Path] = ()) -> None:
    """Refuse to touch a replay that is there unless the session says how: NAME.h5 is a file, anything else a folder.

    Raises:
        UsageError: it exists, is of the other sort, or a folder holds what no replay holds, or a file lies in a folder of `sources`.
        OutputError: its folder cannot be written.
    """
    if out.suffix == ".h5":
        check_file(out, session, resume=False)
        within = next((source for source in sources if os.path.realpath(source) == os.path.realpath(out.parent)), None)
        if within is not None:
            raise UsageError(f"{out}: lies in {within}, of which it would become a part; choose another --out")
        if parts_folder(out).is_dir():
            raise UsageError(
                f"{out}: is being collected in {parts_folder(out)}; finish it with `collect --resume`, or choose another --out"
            )
    else:
        check_folder(out, session, SHARDS)
        check_shards(out)


def check_shards(folder: Path) -> None:
    """See that every NAME.h5 in a folder that shall be emptied is a shard.

    Raises:
        UsageError: one is something else.
    """
    other = next(strangers(folder), None)
    if other is not None:
        raise UsageError(f"{folder}: holds {other.name}, which is no shard of a replay and would be lost; choose another --out")


def check_folder(out: Path, session: Session, ours: tuple[str, ...]) -> None:
    """As `check_directory`, for a folder of which every entry fits one of the shell patterns `ours`.

    A folder that a kill left moved aside is brought back first: it is there, too.

    Raises:
        UsageError: a file is there, or a folder with something else.
        OutputError: another process is replacing it, or a file system is mounted there.
    """
    if os.path.ismount(out):
        raise OutputError(f"{out}: is where a file system is mounted, which nothing can take the place of; choose a folder in it as --out")
    if os.path.exists(_old(_workshop(out), out)) and not os.path.exists(out):
        with sole_writer(out):
            _restore(_workshop(out), out)
    check_directory(out, session, resume=False)
    others = {entry.name for entry in out.glob("*")} - {entry.name for pattern in ours for entry in out.glob(pattern)}
    if others:
        raise UsageError(f"{out}: holds {min(others)}, which would be lost; choose another --out")


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A place of the same name in a folder of its own beside `out`; what is written there replaces `out` when this is left well.

    Raises:
        OutputError: another process writes `out` or has added to it meanwhile, or it cannot be replaced.
    """
    out = with_a_name(out)
    workshop = _workshop(out)
    with sole_writer(out):
        try:
            _tidy(workshop, out)
            before = _names(out)
            workshop.mkdir(parents=True)
            yield workshop / out.name
            _replace(workshop / out.name, out, before)
        except OSError as error:
            raise unwritable(out, error) from error
        finally:
            _tidy(workshop, out)


def ticking(label: str, new: Path, session: Session) -> Tick:
    """Shows how far the writing of `new` is, and ends it where the session is asked to stop.

    Raises:
        StoppedEarly, Interrupted: someone asked; nothing is written then.
    """
    started = False

    def tick(done: int, total: int) -> None:
        nonlocal started
        if not started:
            session.progress.start(label, total)
            started = True
        session.progress.update(done)
        if session.stop.requested():
            raise session.stop.lost(f"{label} {new.name}", f"{100 * done // max(1, total)} %")

    return tick


def _names(folder: Path) -> set[str]:
    """What can be seen in a folder; nothing where there is none."""
    return {path.name for path in folder.glob("[!.]*")}


def _replace(new: Path, out: Path, before: set[str]) -> None:
    if out.is_dir():
        check_idle(out)
        added = _names(out) - before
        if added:
            raise OutputError(f"{out}: {min(added)} was added meanwhile and would be lost; choose another --out")
        os.rename(out, _old(new.parent, out))
    os.replace(new, out)
    sync_folder(out.parent)


def _tidy(workshop: Path, out: Path) -> None:
    """Bring back what was moved aside with nothing in its place, and remove the rest.

    Raises:
        OutputError: it cannot be brought back, because something else took the place: then old and new are left.
    """
    old = _old(workshop, out)
    if old.exists() and (workshop / out.name).exists() and out.exists():
        raise OutputError(f"{out}: something else took its place while it was replaced; what it held is in {old}, move it away")
    _restore(workshop, out)
    shutil.rmtree(workshop, ignore_errors=True)


def _restore(workshop: Path, out: Path) -> None:
    old = _old(workshop, out)
    if old.exists() and not out.exists():
        try:
            os.rename(old, out)
        except OSError as error:
            raise unwritable(out, error) from error


def _workshop(out: Path) -> Path:
    named = with_a_name(out)
    return named.parent / f".{named.name}.new"


def _old(workshop: Path, out: Path) -> Path:
    return workshop / f"{with_a_name(out).name}.old"
