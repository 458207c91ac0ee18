"""A folder of shards: which files are shards, and how writers stay out of one another's way."""

from pathlib import Path

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.files import sync_folder
from dreamctl.core.spaces import spec_difference, spec_from_json, spec_to_json
from dreamctl.replay.origin import Origin
from dreamctl.replay.shard import Header, read_header


def shard_paths(folder: Path) -> list[Path]:
    """The shards in a folder, by name; what is hidden is not one."""
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


def shard_files(path: Path) -> list[Path]:
    """The shards that a path given for reading names: itself, or those in the folder.

    Raises:
        InputError: the folder holds none, or the path is a file that was never finished.
    """
    if not path.is_dir():
        parts = parts_folder(path)
        if not path.exists() and parts.is_dir():
            raise InputError(f"{path}: was never finished; finish it with --resume, or read {parts}")
        return [path]
    found = shard_paths(path)
    if not found:
        raise InputError(f"{path}: holds no shards (*.h5); collect some with `dreamctl collect`")
    return found


def parts_folder(path: Path) -> Path:
    """Where the shards of a single file lie while it is being collected."""
    return path.with_name(f"{path.name}.parts")


def places(path: Path) -> list[Path]:
    """Where rows of an output lie now: the folder or finished file, and the parts of a file that is not finished."""
    return [place for place in (path, parts_folder(path)) if place.is_file() or (place.is_dir() and shard_paths(place))]


def open_folder(path: Path, spec: TaskSpec, append: bool) -> Path:
    """The folder that shards of an output go into, made where it is not there; rows of this task may go into it.

    Raises:
        UsageError: there are shards already and `append` is off.
        InputError: the rows that are there are of another task.
        OutputError: the folder cannot be made.
    """
    folder = parts_folder(path) if path.suffix == ".h5" else path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({error.strerror}); choose another --out") from error
    present = shard_paths(folder)
    if present and not append:
        raise UsageError(f"{folder}: holds {len(present)} shards already; add --append or --overwrite, or choose another --out")
    before = written_before(path, append)
    # Compared as it is read back: JSON keeps less of a space than the space itself, e.g. no int32 of a Discrete.
    difference = spec_difference(spec_from_json(spec_to_json(spec)), before.spec) if before else None
    if difference:
        raise InputError(f"{path}: cannot append, {difference} (as there already); choose another --out")
    return folder


def written_before(path: Path, append: bool) -> Header | None:
    """The header of a shard or file that is appended to; None where there is none."""
    for place in places(path) if append else []:
        return read_header(place if place.is_file() else shard_paths(place)[0])
    return None


def claim_collector(folder: Path, origin: Origin) -> tuple[str, Path]:
    """A collector name that no other writer of this folder has or had, and the mark that keeps it.

    Raises:
        OutputError: the mark cannot be made.
    """
    for salt in range(1 << 20):
        name = origin.collector(salt)
        mark = folder / f".{name}.lock"
        if any(folder.glob(f"{name}-e*.h5")):
            continue
        try:
            mark.open("x").close()
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"{folder}: cannot write ({error.strerror}); free some space or choose another --out") from error
        return name, mark
    raise OutputError(f"{folder}: every collector name is taken; choose another --out")


def remove_parts(folder: Path) -> None:
    """Remove the parts of a file that is complete."""
    for path in [*shard_paths(folder), *folder.glob(".*.lock")]:
        path.unlink()
    folder.rmdir()
    sync_folder(folder.parent)
