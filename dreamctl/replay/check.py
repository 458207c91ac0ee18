"""What a sealed shard must satisfy before it is believed: layout, episode table, values. Never looks at every byte."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.replay.format import CHUNK_LIMIT, Field

ALLOWED_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
SMALL_ROW = 256


def layout(path: Path, file: h5py.File, fields: Sequence[Field], size: int) -> tuple[int, int]:
    """Number of committed rows and episodes, once every dataset of the schema is where it should be.

    Raises:
        InputError: a dataset is missing, linked, virtual, external, of another type or longer or shorter than committed.
    """
    commit = Field("/commit", "<i8", (), "commit")
    rows, episodes, *_ = (int(number) for number in _dataset(path, file, commit, size)[:4])
    for field in fields:
        found, wanted = len(_dataset(path, file, field, size)), episodes if field.per_episode else rows
        if found != wanted:
            raise InputError(f"{path}: {field.path} holds {found} rows, /commit says {wanted}; copy or collect it again")
    return rows, episodes


def episodes(path: Path, rows: int, table: Mapping[str, Array], steps: Mapping[str, Array]) -> None:
    """The episode table and the flags of the rows agree.

    Raises:
        InputError: they do not.
    """
    start, length, segment = (np.asarray(table[name], np.int64) for name in ("start", "length", "segment"))
    end = np.concatenate([[0], start + length])
    if (length < 1).any() or (start != end[:-1]).any() or end[-1] != rows:
        raise InputError(f"{path}: /episodes does not cover the {rows} rows one after another; copy or collect it again")
    if (segment[1:] != 0).any() or (segment < 0).any():
        raise InputError(f"{path}: /episodes/segment goes on with an episode in the middle of a shard; copy or collect it again")
    first = np.zeros(rows, bool)
    first[start[segment == 0]] = True
    _same(path, "is_first", "on the first row of an episode and nowhere else", steps["is_first"], first)
    for flag in ("terminated", "truncated"):
        last = np.zeros(rows, bool)
        last[start + length - 1] = table[flag].astype(bool)
        _same(path, flag, "on a last row where /episodes says so and nowhere else", steps[flag], last)


def values(path: Path, spec: TaskSpec, table: Mapping[str, Array], steps: Mapping[str, Array]) -> None:
    """Rewards, vectors and actions are finite, and discrete actions exist.

    Raises:
        InputError: names file, key and row of the first value that is not.
    """
    for name, column in steps.items():
        if column.dtype.kind == "f" and column.itemsize * int(np.prod(column.shape[1:])) <= SMALL_ROW:
            _finite(path, name, column)
    if isinstance(spec.action, Discrete):
        index = np.asarray(steps["action"], np.int64)
        outside = (index < spec.action.start) | (index >= spec.action.start + spec.action.n)
        last = np.zeros(len(index), bool)
        last[np.asarray(table["start"], np.int64) + np.asarray(table["length"], np.int64) - 1] = True
        outside &= ~(last & (index == 0))
        if outside.any():
            row = int(outside.argmax())
            raise InputError(f"{path}: /steps/action row {row} is {index[row]}, wanted one of {spec.action}; filter it or collect again")


def _finite(path: Path, name: str, column: Array) -> None:
    # One sum tells whether all is well; only then is it worth asking where it is not.
    with np.errstate(all="ignore"):
        if np.isfinite(column.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(column.reshape(len(column), -1)).all(-1)
    if bad.any():
        row = int(bad.argmax())
        value = f"{column[row]}".replace("\n", "")
        raise InputError(f"{path}: /steps/{name} row {row} is {value}, wanted finite numbers; mend the environment and collect again")


def _same(path: Path, flag: str, where: str, found: Array, wanted: NDArray[np.bool_]) -> None:
    differs = found.astype(bool) != wanted
    if differs.any():
        row = int(differs.argmax())
        raise InputError(f"{path}: /steps/{flag} row {row} is {int(bool(found[row]))}, it must be set {where}; copy or collect it again")


def _dataset(path: Path, file: h5py.File, field: Field, size: int) -> h5py.Dataset:
    """The dataset of a field, a plain one with all its bytes inside the file."""
    parts = field.path.strip("/").split("/")
    for depth in range(1, len(parts) + 1):
        link = file.get("/" + "/".join(parts[:depth]), getlink=True)
        if not isinstance(link, h5py.HardLink):
            found = "missing" if link is None else "a link"
            raise InputError(f"{path}: /{'/'.join(parts[:depth])} is {found}, wanted a dataset of its own; copy or collect it again")
    dataset = file[field.path]
    problem = _form(dataset, field) or _storage(dataset, size)
    if problem:
        raise InputError(f"{path}: {field.path} {problem}; copy or collect it again")
    return dataset


def _form(dataset: h5py.Dataset, field: Field) -> str | None:
    """What is wrong with type and shape, None where nothing is."""
    if not isinstance(dataset, h5py.Dataset):
        return "is not a dataset"
    if dataset.dtype != np.dtype(field.dtype):
        return f"is of dtype {dataset.dtype.str}, the schema says {field.dtype}"
    if dataset.ndim == 0 or dataset.shape[1:] != field.shape:
        return f"has rows of shape {dataset.shape[1:]}, the schema says {field.shape}"
    return None


def _storage(dataset: h5py.Dataset, size: int) -> str | None:
    """What is wrong with where the bytes lie, None where nothing is."""
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or dataset.external:
        return "lies in another file"
    filters = {properties.get_filter(index)[0] for index in range(properties.get_nfilters())}
    if not filters <= ALLOWED_FILTERS:
        return f"uses filters {sorted(filters - ALLOWED_FILTERS)}, only deflate, shuffle and fletcher32 are read"
    if dataset.chunks:
        return _chunks(dataset, size)
    if properties.get_layout() != h5py.h5d.CONTIGUOUS:
        return "is neither contiguous nor chunked"
    offset = dataset.id.get_offset()
    return "ends beyond the file" if offset is None or offset + dataset.nbytes > size else None


def _chunks(dataset: h5py.Dataset, size: int) -> str | None:
    if int(np.prod(dataset.chunks, dtype=np.int64)) * dataset.dtype.itemsize > CHUNK_LIMIT:
        return f"has chunks of {dataset.chunks}, larger than {CHUNK_LIMIT >> 20} MiB"
    wanted = int(np.prod([-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]))
    ends: list[int] = []
    dataset.id.chunk_iter(lambda chunk: ends.append(chunk.byte_offset + chunk.size))
    if len(ends) != wanted:
        return f"has {len(ends)} chunks, wanted {wanted}"
    return "ends beyond the file" if ends and max(ends) > size else None
