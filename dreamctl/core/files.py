"""Files that are either whole or not there: written beside their place, then renamed into it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dreamctl.core.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to make a file that takes the name `path` when the block ends well; its bytes must be on disk by then.

    Raises:
        OutputError: it cannot be written; nothing is left behind and an older file of that name is untouched.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, fsync it, rename it into place and fsync the folder.

    Raises:
        OutputError: as `replacing` does.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def temporary_of(path: Path) -> Path:
    """Where a file is made before it is renamed into place: hidden, beside it."""
    return path.with_name(f".{path.name}.tmp")


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: object) -> None:
    """An indented JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def unwritable(path: Path, error: OSError) -> OutputError:
    """What to raise when a file cannot be written."""
    return OutputError(f"{path}: cannot write ({error.strerror or error}); free some space or choose another --out")


def names_in(folder: Path) -> list[str]:
    """What a folder holds, by name; unlike a pattern, which finds nothing where it may not look.

    Raises:
        OSError: it is no folder, or may not be listed or entered.
    """
    os.stat(f"{folder}/.")  # whoever may list a folder may not always reach what is in it
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
