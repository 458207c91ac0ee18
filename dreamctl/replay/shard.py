"""Opens one sealed shard: validated before anything of it is believed, its small columns and episodes read into memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import get_args

import h5py
import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.spaces import spec_from_json
from dreamctl.replay import check
from dreamctl.replay.format import ALIGNMENT, FORMAT, VERSION, Field, Kind, episode_fields, schema_from_json, schema_id, step_fields

MEND = "copy or collect it again, or leave it out"


@dataclass(frozen=True)
class Header:
    """The root attributes of a shard that a reader goes by; `parts_sha256` is the content hash of the parts of a single file."""

    spec: TaskSpec
    kind: Kind
    stream: str
    seq: int
    first_row: int
    fields: tuple[Field, ...]
    sealed_sha256: str
    parts_sha256: str


@dataclass(frozen=True)
class Shard:
    """One validated shard.

    Attributes:
        steps: the columns that every replay of the task has, by name, (rows, ...); big ones stay on disk.
        episodes: the episode table, by name, (episodes,).
    """

    path: Path
    header: Header
    rows: int
    steps: Mapping[str, Array]
    episodes: Mapping[str, Array]


def read_header(path: Path) -> Header:
    """The header of a shard, nothing else of it read.

    Raises:
        InputError: not a sealed shard of a version that is known.
    """
    with opened(path) as file:
        return _header(path, file)


def read_shard(path: Path) -> Shard:
    """Open and validate one shard.

    Raises:
        InputError: the file is not a sealed shard, or what it holds contradicts itself.
    """
    try:
        with opened(path) as file:
            header = _header(path, file)
            rows, _, datasets = check.layout(path, file, header.fields, path.stat().st_size)
            wanted = {field.path for field in step_fields(header.spec) if not field.big}
            steps = {field.name: datasets[field.path][:] for field in header.fields if field.path in wanted}
            table = {field.name: datasets[field.path][:] for field in header.fields if field.per_episode}
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: damaged ({_first_line(error)}); {MEND}") from error
    check.episodes(path, rows, table, steps)
    check.values(path, header.spec, table, steps)
    return Shard(path, header, rows, steps, table)


def read_columns(path: Path, names: Sequence[str], first: int, rows: int) -> dict[str, Array]:
    """Some rows of columns of a shard, by their name below /steps.

    Raises:
        InputError: they cannot be read.
    """
    try:
        with opened(path) as file:
            return {name: file[f"/steps/{name}"][first : first + rows] for name in names}
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: damaged ({_first_line(error)}); {MEND}") from error


def opened(path: Path) -> h5py.File:
    """The HDF5 file, read-only.

    Raises:
        InputError: missing, or another sort of file, which the message names.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file; a replay is a folder or an .h5 file written by `dreamctl collect`")
        with path.open("rb") as raw:
            begin = raw.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); `dreamctl collect` writes replays") from error
    if begin.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is a checkpoint; a replay is needed here (written by `dreamctl collect`)")
    if begin != b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path}: not HDF5; a replay is needed here (written by `dreamctl collect`)")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: truncated or damaged ({_first_line(error)}); {MEND}") from error


def _header(path: Path, file: h5py.File) -> Header:
    """The root attributes, once format and version are known ones."""
    try:
        if "format" not in file.attrs or text_attribute(file, "format") != FORMAT:
            raise InputError(f"{path}: HDF5, but not a {FORMAT} file; a replay is needed here (written by `dreamctl collect`)")
        found, known = text_attribute(file, "format_version"), VERSION.split(".")[0]
        if found.split(".")[0] != known:
            raise InputError(f"{path}: format version {found}, this dreamctl reads {known}.x; upgrade dreamctl")
        return _believed(path, file)
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from error
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: damaged root attributes ({_first_line(error)}); {MEND}") from error


def _believed(path: Path, file: h5py.File) -> Header:
    """The header of a file of the right format and version."""
    state, kind, alignment, schema = (text_attribute(file, name) for name in ("state", "kind", "alignment", "schema"))
    if state != "sealed":
        raise InputError(f"{path}: state is {state!r}, wanted 'sealed'; wait until its collector has ended")
    if kind not in get_args(Kind) or alignment != ALIGNMENT:
        raise InputError(f"{path}: kind {kind!r} and alignment {alignment!r} are not known; upgrade dreamctl")
    if text_attribute(file, "schema_id") != schema_id(schema):
        raise InputError(f"{path}: the schema is not the one its schema_id names; {MEND}")
    spec, fields = spec_from_json(text_attribute(file, "task_spec")), schema_from_json(schema)
    _check_schema(path, spec, kind, fields)
    numbers = (int(file.attrs["seq"]), int(file.attrs["first_row"]))
    parts = text_attribute(file, "parts_sha256") if "parts_sha256" in file.attrs else ""
    return Header(spec, kind, text_attribute(file, "stream"), *numbers, tuple(fields), text_attribute(file, "sealed_sha256"), parts)  # type: ignore[arg-type]


def _check_schema(path: Path, spec: TaskSpec, kind: str, fields: Sequence[Field]) -> None:
    """Refuse a schema that lacks a dataset of the task or stores it otherwise; reward may be double."""
    known = {field.path: field for field in fields}
    for wanted in [*step_fields(spec), *episode_fields(kind)]:  # type: ignore[arg-type]
        found = known.get(wanted.path)
        double = found is not None and found.role == "reward" and found.dtype == "<f8"
        if found is None or found.shape != wanted.shape or (found.dtype != wanted.dtype and not double):
            shown = "absent" if found is None else f"{found.dtype} {found.shape}"
            raise InputError(f"{path}: {wanted.path} is {shown}, wanted {wanted.dtype} {wanted.shape}; {MEND}")


def text_attribute(file: h5py.File, name: str) -> str:
    """A text attribute, or the dataset under /meta that holds a long one."""
    value = file.attrs.get(name)
    if value is None:
        return bytes(file[f"/meta/{name}"][:]).decode()
    if not isinstance(value, np.bytes_):
        raise ValueError(f"attribute {name} is not a byte string of fixed length")
    return value.decode()


def _first_line(error: Exception) -> str:
    return (str(error.args[0]) if error.args else type(error).__name__).splitlines()[0][:160]
