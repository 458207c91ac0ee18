"""A folder of shards: which files are shards, and how writers stay out of one another's way."""

from pathlib import Path

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import spec_difference
from dreamctl.replay.origin import Origin
from dreamctl.replay.sealed import sync_folder
from dreamctl.replay.shard import read_header


def shard_paths(folder: Path) -> list[Path]:
    """The shards in a folder, by name; what is hidden is not one."""
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


def parts_folder(path: Path) -> Path:
    """Where the shards of a single file lie while it is being collected."""
    return path.with_name(f"{path.name}.parts")


def open_folder(folder: Path, spec: TaskSpec, append: bool) -> None:
    """Make the folder, or see that rows of this task may go into it.

    Raises:
        UsageError: there are shards already and `append` is off.
        InputError: the shards that are there are of another task.
        OutputError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({error.strerror}); choose another --out") from error
    present = shard_paths(folder)
    if present and not append:
        raise UsageError(f"{folder}: holds {len(present)} shards already; add --append or --overwrite, or choose another --out")
    difference = spec_difference(spec, read_header(present[0]).spec) if present else None
    if difference:
        raise InputError(f"{folder}: cannot append, {difference} (as there already); choose another --out")


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
