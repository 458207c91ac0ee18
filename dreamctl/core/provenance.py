"""Where an artefact comes from: versions, command line, and the hash of each input."""

import hashlib
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dreamctl.core.errors import InputError
from dreamctl.core.session import Session

DISTRIBUTIONS = ("dreamctl", "torch", "numpy", "gymnasium", "h5py", "isal", "deflate", "mujoco", "dm_control")


def provenance(session: Session, compute: Mapping[str, object], inputs: Mapping[str, str | Path]) -> dict[str, object]:
    """What every artefact records, as plain values.

    Args:
        session: how the stage is run.
        compute: the device, precision and threads that `auto` chose.
        inputs: name -> content hash, or a file that is hashed here.
    """
    hashes = {name: value if isinstance(value, str) else file_hash(value) for name, value in inputs.items()}
    machine = {"platform": platform.platform(), "machine": platform.machine()}
    return {"command": list(session.command), "seed": session.seed, **compute, "versions": versions(), **machine, "inputs": hashes}


def versions() -> dict[str, str]:
    """Python and the distributions that decide about numbers, as far as they are installed."""
    return {"python": platform.python_version(), **dict(_installed())}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _installed() -> Iterator[tuple[str, str]]:
    for name in DISTRIBUTIONS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
