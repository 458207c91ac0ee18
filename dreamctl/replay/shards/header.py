"""Opens the file of a shard and reads what it says of itself: nothing is believed before its form is known."""

import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Literal, get_args

import h5py
import numpy as np

from dreamctl.core.errors import EnvironmentFailure, InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import check_supported, spec_from_json
from dreamctl.replay.format import ALIGNMENT, FORMAT, VERSION, Field, Kind, episode_fields, schema_from_json, schema_id, step_fields
from dreamctl.replay.shards.layout import read_bytes

State = Literal["live", "sealed"]

MEND = "copy or collect it again, or leave it out"
SMALLEST = 2048  # bytes of a file
SIGNATURE = b"\x89HDF\r\n\x1a\n"
LONGEST_TEXT = 2 << 20  # bytes of an attribute: its JSON takes many times as much in memory
STREAM = re.compile(r"[0-9A-Za-z_-]{1,80}")
SHA256 = re.compile(r"[0-9a-f]{64}")

DOUBLES = ("observation", "action", "reward")  # roles that may be stored as <f8 where the task has <f4


@dataclass(frozen=True)
class Header:
    """The root attributes of a shard that a reader goes by.

    Attributes:
        state: `live` while rows are added to it, otherwise `sealed`.
        sealed_sha256: of the content; empty of a live shard, and of one of which not all rows are taken.
        parts_sha256: of a single file the content hash of its parts, otherwise empty.
    """

    spec: TaskSpec
    kind: Kind
    stream: str
    seq: int
    first_row: int
    fields: tuple[Field, ...]
    sealed_sha256: str
    parts_sha256: str
    state: State = "sealed"


def read_header(path: Path) -> Header:
    """The header of a shard, nothing else of it read.

    Raises:
        InputError: not a shard of a version that is known.
    """
    with opened(path) as file:
        return header_of(path, file)


def opened(path: Path) -> h5py.File:
    """The HDF5 file, read-only.

    Raises:
        InputError: missing, or another sort of file, which the message names.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file; a replay is a folder or an .h5 file written by `dreamctl collect`")
        begin = _beginning(path)
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); `dreamctl collect` writes replays") from error
    if begin.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is a checkpoint; a replay is needed here (written by `dreamctl collect`)")
    if not begin.startswith(SIGNATURE):
        raise InputError(f"{path}: not HDF5; a replay is needed here (written by `dreamctl collect`)")
    if status.st_size < SMALLEST:
        raise InputError(f"{path}: truncated or damaged ({status.st_size} bytes); {MEND}")
    # Older superblocks, and all that hangs on them, have no checksums.
    if begin[8] not in (2, 3):
        raise InputError(f"{path}: HDF5, but not a {FORMAT} file; a replay is needed here (written by `dreamctl collect`)")
    try:
        # By itself `h5py.File` puts together a list of properties first, which takes as long as opening.
        return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: truncated or damaged ({first_line(error)}); {MEND}") from error


def _beginning(path: Path) -> bytes:
    """The first bytes of a regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 16)
    finally:
        os.close(descriptor)


def header_of(path: Path, file: h5py.File) -> Header:
    """The root attributes, once format and version are known ones.

    Raises:
        InputError: they are not, or contradict themselves.
    """
    try:
        if not h5py.h5a.exists(file.id, b"format") or text_attribute(file, "format") != FORMAT:
            raise InputError(f"{path}: HDF5, but not a {FORMAT} file; a replay is needed here (written by `dreamctl collect`)")
        found, known = text_attribute(file, "format_version"), VERSION.split(".")[0]
        if found.split(".")[0] != known:
            raise InputError(f"{path}: format version {found[:20]}, this dreamctl reads {known}.x; upgrade dreamctl")
        return _believed(path, file)
    except InputError as error:
        text = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        raise InputError(_printable(text)) from error
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: damaged root attributes ({first_line(error)}); {MEND}") from error


def text_attribute(file: h5py.File, name: str) -> str:
    """A text attribute, or the dataset under /meta that holds a long one.

    Raises:
        ValueError: it is no byte string of fixed length, or too long.
        KeyError, InputError: it is not there.
    """
    try:
        attribute = h5py.h5a.open(file.id, name.encode())
    except KeyError:
        if not file.id.links.exists(b"meta"):
            raise KeyError(f"attribute {name} is missing") from None
        return read_bytes(file, f"/meta/{name}", LONGEST_TEXT).decode()
    kind = attribute.get_type()
    size = kind.get_size()
    if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str() or _stored_size(attribute) != size:
        raise ValueError(f"attribute {name} is not a byte string of fixed length")
    if size > LONGEST_TEXT:
        raise ValueError(f"attribute {name} is of {size} bytes, more than {LONGEST_TEXT >> 20} MiB")
    value = np.empty((), f"S{size}")
    attribute.read(value, kind)
    return bytes(value.item()).decode()


def _stored_size(attribute: h5py.h5a.AttrID) -> int:
    """Bytes of an attribute: those of its type where it is one value. HDF5 takes none for an error."""
    try:
        return int(attribute.get_storage_size())
    except RuntimeError:
        return 0


def count_attribute(file: h5py.File, name: str) -> int:
    """A whole number that is not negative.

    Raises:
        ValueError: it is another thing.
        KeyError: it is not there.
    """
    attribute = h5py.h5a.open(file.id, name.encode())
    kind = attribute.get_type()
    if not kind.equal(h5py.h5t.STD_I64LE) or _stored_size(attribute) != 8:
        raise ValueError(f"attribute {name} is not a whole number")
    value = np.empty((), "<i8")
    attribute.read(value, kind)
    if not 0 <= value < 1 << 62:
        raise ValueError(f"attribute {name} is {value}, wanted a count")
    return int(value)


def check_readable(attributes: Mapping[str, str | int]) -> None:
    """Refuse the root attributes of a shard to come that no reader would take.

    Raises:
        InputError: a text is too long, or the task or the schema is none that is read.
    """
    for name, value in attributes.items():
        if isinstance(value, str) and len(value.encode()) > LONGEST_TEXT:
            raise InputError(f"{name} takes {len(value.encode())} bytes, more than {LONGEST_TEXT >> 20} MiB; choose smaller spaces")
    _understood(str(attributes["task_spec"]), attributes["kind"], str(attributes["schema"]))  # type: ignore[arg-type]


def first_line(error: Exception) -> str:
    """The beginning of what HDF5 or Python says."""
    text = str(error.args[0]) if error.args else ""
    return _printable((text.splitlines() or [type(error).__name__])[0][:160])


def _believed(path: Path, file: h5py.File) -> Header:
    """The header of a file of the right format and version."""
    state, kind, alignment, schema = (text_attribute(file, name) for name in ("state", "kind", "alignment", "schema"))
    if state not in get_args(State):
        raise InputError(f"{path}: state is {state!r}, wanted 'sealed' or 'live'; upgrade dreamctl")
    if kind not in get_args(Kind) or alignment != ALIGNMENT:
        raise InputError(f"{path}: kind {kind!r} and alignment {alignment!r} are not known; upgrade dreamctl")
    if text_attribute(file, "schema_id") != schema_id(schema):
        raise InputError(f"{path}: the schema is not the one its schema_id names; {MEND}")
    spec, fields = _understood(text_attribute(file, "task_spec"), kind, schema)
    stream, seq, first_row = text_attribute(file, "stream"), count_attribute(file, "seq"), count_attribute(file, "first_row")
    if not STREAM.fullmatch(stream):
        raise InputError(f"{path}: stream {stream[:80]!r} is no name; {MEND}")
    sealed, parts = (_sha256(file, name) for name in ("sealed_sha256", "parts_sha256"))
    if state == "sealed" and not sealed:
        raise InputError(f"{path}: lacks its sealed_sha256; {MEND}")
    return Header(spec, kind, stream, seq, first_row, fields, sealed, parts, state)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=8)
def _understood(task_spec: str, kind: Kind, schema: str) -> tuple[TaskSpec, tuple[Field, ...]]:
    """Task and schema, which the shards of a replay have in common."""
    spec, fields = spec_from_json(task_spec), tuple(schema_from_json(schema))
    try:
        check_supported(spec)
    except EnvironmentFailure as error:
        raise InputError(f"task spec: {error}") from error
    _check_schema(spec, kind, fields)
    return spec, fields


def _check_schema(spec: TaskSpec, kind: Kind, fields: Sequence[Field]) -> None:
    """Refuse a schema that lacks a dataset of the task or stores it otherwise; an import may keep doubles as they were."""
    known = {field.path: field for field in fields}
    if len(known) < len(fields):
        raise InputError(f"the schema names a dataset twice; {MEND}")
    for wanted in [*step_fields(spec), *episode_fields(kind)]:
        found = known.get(wanted.path)
        double = found is not None and wanted.dtype == "<f4" and found.dtype == "<f8" and wanted.role in DOUBLES
        if found is None or found.shape != wanted.shape or found.role != wanted.role or (found.dtype != wanted.dtype and not double):
            shown = "absent" if found is None else f"{found.dtype} {found.shape} as {found.role}"
            raise InputError(f"{wanted.path} is {shown}, wanted {wanted.dtype} {wanted.shape}; {MEND}")


def _sha256(file: h5py.File, name: str) -> str:
    """A hash, or nothing where there is none."""
    text = text_attribute(file, name) if h5py.h5a.exists(file.id, name.encode()) else ""
    if text and not SHA256.fullmatch(text):
        raise ValueError(f"attribute {name} is no SHA-256")
    return text


def _printable(text: str) -> str:
    """On one line, whatever the file brought."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
