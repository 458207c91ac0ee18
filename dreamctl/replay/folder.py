"""A folder of shards: which files are shards, and how writers stay out of one another's way."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.files import names_in, sync_folder, temporary_of
from dreamctl.core.locks import Lock, holder, try_lock, with_a_name
from dreamctl.core.spaces import spec_difference, spec_from_json, spec_to_json
from dreamctl.replay.format import Field, schema_difference
from dreamctl.replay.shards.header import Header, read_header
from dreamctl.replay.shards.origin import Origin

# What a folder of shards holds: these, the marks and unfinished files of their writers, latents stored for their rows, what has left it.
SHARDS = ("[!.]*.h5", ".*-e[0-9]*.lock", ".prune.lock", ".*.h5.tmp", "..*.tmp", ".latents-*", ".gone.json")
SHARD = re.compile(r"[0-9A-Za-z_-]{1,80}-e[0-9]+-[0-9]{6,}\.h5")


def shard_paths(folder: Path) -> list[Path]:
    """The shards in a folder, by name; what is hidden is not one."""
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


def strangers(folder: Path) -> Iterator[Path]:
    """What is called NAME.h5 in a folder and is no shard: neither called as they are, nor written as they are."""
    for path in shard_paths(folder):
        if not (SHARD.fullmatch(path.name) and path.is_file()):
            try:
                read_header(path)
            except InputError:
                yield path


def shard_files(path: Path) -> list[Path]:
    """The shards that a path given for reading names: itself, or those in the folder.

    Raises:
        InputError: the folder holds none, or the path is a file that was never finished.
    """
    try:
        if not path.is_dir():
            parts = parts_folder(path)
            if not path.exists() and parts.is_dir():
                raise InputError(f"{path}: was never finished; finish it with --resume, or read {parts}")
            return [path]
    except OSError as error:
        raise _closed(path, error) from error
    found = shards_there(path)
    if not found:
        raise InputError(f"{path}: holds no shards (*.h5); collect some with `dreamctl collect`")
    return found


def shards_there(folder: Path) -> list[Path]:
    """As `shard_paths`, for reading: a folder that may not be looked into is not taken for an empty one.

    Raises:
        InputError: the folder may not be looked into.
    """
    try:
        return [folder / name for name in names_in(folder) if name.endswith(".h5") and not name.startswith(".")]
    except OSError as error:
        raise _closed(folder, error) from error


def is_gone(path: Path) -> bool:
    """Whether nothing has this name any more, not even a link that leads nowhere."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _closed(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror}); ask its owner, or give another one")


def parts_folder(path: Path) -> Path:
    """Where the shards of a single file lie while it is being collected."""
    named = with_a_name(path)
    return named.parent / f"{named.name}.parts"


def shards_folder(path: Path) -> Path:
    """Where the shards of an output are written: the folder itself, or the parts of a single file."""
    return parts_folder(path) if path.suffix == ".h5" else path


def places(path: Path) -> list[Path]:
    """Where rows of an output lie now: the folder or finished file, and the parts of a file that is not finished."""
    return [place for place in (path, parts_folder(path)) if place.is_file() or (place.is_dir() and shard_paths(place))]


def open_folder(path: Path, append: bool) -> Path:
    """The folder that shards of an output go into, made where it is not there.

    Raises:
        UsageError: there are shards already and `append` is off, or it is on and the one file is finished.
        OutputError: the folder cannot be made.
    """
    folder = shards_folder(path)
    present = shard_paths(folder)
    if present and not append:
        if folder != path:
            raise UsageError(f"{path}: was never finished, its rows are in {folder}; add --resume or --overwrite, or choose another --out")
        raise UsageError(f"{folder}: holds shards already ({len(present)}); add --append or --overwrite, or choose another --out")
    if append and path.is_file() and not present:
        raise UsageError(f"{path}: is one finished file, which nothing is added to; collect into a folder, or use --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({error.strerror}); choose another --out") from error
    return folder


def check_appendable(path: Path, spec: TaskSpec, fields: Sequence[Field], before: Header | None) -> None:
    """Refuse rows that do not go with those that are there, and say in what they differ.

    Args:
        path: the output, for the message.
        spec: the task of the new rows.
        fields: the new datasets, as far as they are known.
        before: of a shard that is there; None where there is none.

    Raises:
        InputError: task or datasets differ.
    """
    if before is None:
        return
    # Compared as it is read back: JSON keeps less of a space than the space itself, e.g. no int32 of a Discrete.
    paths = {field.path for field in fields}
    known = [field for field in before.fields if field.path in paths or field.role not in ("extra", "episode")]
    found = [spec_difference(spec_from_json(spec_to_json(spec)), before.spec), schema_difference(fields, known)]
    differences = "; ".join(difference for difference in found if difference)
    if differences:
        raise InputError(f"{path}: cannot append, {differences} (as there already); choose another --out")


def written_before(folder: Path) -> Header | None:
    """The header of a shard that is there; None where there is none."""
    return next((read_header(path) for path in shard_paths(folder)), None)


def lock_path(folder: Path, stream: str) -> Path:
    """The file that whoever writes a stream holds locked; no reader opens it."""
    return folder / f".{stream}.lock"


def check_idle(folder: Path) -> None:
    """See that no process writes a stream into this folder.

    Raises:
        OutputError: one does; it is named.
    """
    for path in sorted(folder.glob(".*.lock")):
        who = holder(path)
        if who:
            raise OutputError(f"{folder}: {who}; wait for it, stop it, or use --append for streams of your own")


def claim_collector(folder: Path, origin: Origin, lanes: int, gone: Collection[str]) -> tuple[str, list[Lock]]:
    """A collector name that no other writer of this folder has or had, and the locks of its streams.

    Args:
        folder: of the shards.
        origin: of the rows to come.
        lanes: how many streams.
        gone: names of writers whose rows may have left the folder.

    Raises:
        OSError: a lock cannot be made.
        OutputError: all names are taken.
    """
    for salt in range(1 << 20):
        name = origin.collector(salt)
        if name in gone or any(folder.glob(f"{name}-e*.h5")):
            continue
        locks = [lock for lane in range(lanes) if (lock := try_lock(lock_path(folder, f"{name}-e{lane}"))) is not None]
        # Between looking and locking, another one may have come and gone and left its shards.
        if len(locks) == lanes and not any(folder.glob(f"{name}-e*.h5")):
            return name, locks
        for lock in locks:
            lock.release()
    raise OutputError(f"{folder}: every collector name is taken; choose another --out")


def remove_parts(folder: Path) -> None:
    """Remove the parts of a file that is complete: all at once, so that no kill leaves some of them to be taken for rows of their own.

    Raises:
        OutputError: they cannot be removed, or there is something else in the folder.
    """
    finish_removing(folder)
    try:
        folder.rename(temporary_of(folder))
        sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{folder}: cannot remove it ({error.strerror}); what it holds is in the one file") from error
    finish_removing(folder)


def finish_removing(folder: Path) -> None:
    """Remove what a kill has left of parts that were being removed.

    Raises:
        OutputError: they cannot be removed, or there is something else among them.
    """
    gone = temporary_of(folder)
    try:
        for path in [path for pattern in SHARDS for path in gone.glob(pattern)]:
            path.unlink()
        if gone.is_dir():
            gone.rmdir()
    except OSError as error:
        raise OutputError(f"{gone}: cannot remove it ({error.strerror}); its rows are in the one file, remove the rest by hand") from error
