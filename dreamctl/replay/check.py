"""What a sealed shard must satisfy before it is believed: layout, episode table, values. Never looks at every byte."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.parts import ChoiceCodec, LeafCodec, leaf_codec
from dreamctl.replay.format import CHUNK_LIMIT, Field

ALLOWED_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def layout(path: Path, file: h5py.File, fields: Sequence[Field], size: int) -> tuple[int, int, dict[str, h5py.Dataset]]:
    """Number of committed rows and episodes, and the datasets by path, once every one is where it should be.

    Raises:
        InputError: a dataset is missing, linked, virtual, external, of another type or longer or shorter than committed.
    """
    commit = Field("/commit", "<i8", (), "commit")
    _own_links(path, file, [field.path for field in (commit, *fields)])
    numbers = _dataset(path, file, commit, size)[:].tolist()
    if len(numbers) != 4:
        raise InputError(f"{path}: /commit holds {len(numbers)} numbers, wanted 4; copy or collect it again")
    rows, episodes = numbers[:2]
    datasets = {field.path: _dataset(path, file, field, size) for field in fields}
    for field in fields:
        found, wanted = datasets[field.path].shape[0], episodes if field.per_episode else rows
        if found != wanted:
            raise InputError(f"{path}: {field.path} holds {found} rows, /commit says {wanted}; copy or collect it again")
    return rows, episodes, datasets


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
    """Rewards, vectors and actions are finite, and choices are of those that there are.

    Raises:
        InputError: names file, key and row of the first value that is not.
    """
    for name, column in steps.items():
        if column.dtype.kind == "f":
            _finite(path, name, column)
    last = np.zeros(len(steps["reward"]), bool)
    last[np.asarray(table["start"], np.int64) + np.asarray(table["length"], np.int64) - 1] = True
    action = ActionCodec(spec.action)
    for name, leaf in action.leaves.items():
        # The last row holds the zero of an action that no one takes, which need not be a choice.
        _known(path, f"action/{name}" if action.nested else "action", leaf, steps, last)
    for name, space in spec.observation.items():
        if f"observation/{name}" in steps:
            _known(path, f"observation/{name}", leaf_codec(space, scaled=False), steps, np.zeros_like(last))


def _known(path: Path, name: str, leaf: LeafCodec, steps: Mapping[str, Array], zero_allowed: NDArray[np.bool_]) -> None:
    """Every entry is a choice that there is."""
    if not isinstance(leaf, ChoiceCodec):
        return
    column = steps[name]
    outside = leaf.outside(column).reshape(len(column), -1)
    outside &= ~(zero_allowed[:, None] & (column.reshape(len(column), -1) == 0))
    if outside.any():
        row = int(outside.any(-1).argmax())
        found = " ".join(str(column[row]).split())
        raise InputError(f"{path}: /steps/{name} row {row} is {found}, wanted one of {leaf.space}; filter it or collect again")


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


def _own_links(path: Path, file: h5py.File, names: Sequence[str]) -> None:
    """Every group and dataset on the way is in this file under a name of its own."""
    prefixes = {"/".join(parts[:depth]): None for name in names for parts in [name.split("/")] for depth in range(2, len(parts) + 1)}
    for prefix in prefixes:
        if not file.id.links.exists(prefix.encode()):
            raise InputError(f"{path}: {prefix} is missing, wanted a dataset; copy or collect it again")
        if file.id.links.get_info(prefix.encode()).type != h5py.h5l.TYPE_HARD:
            raise InputError(f"{path}: {prefix} is a link, wanted a dataset of its own; copy or collect it again")


def _dataset(path: Path, file: h5py.File, field: Field, size: int) -> h5py.Dataset:
    """The dataset of a field, a plain one with all its bytes inside the file."""
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
    if not dataset.shape or dataset.shape[1:] != field.shape:
        return f"is of shape {dataset.shape}, the schema says (rows, {', '.join(map(str, field.shape))})"
    return None


def _storage(dataset: h5py.Dataset, size: int) -> str | None:
    """What is wrong with where the bytes lie, None where nothing is."""
    properties = dataset.id.get_create_plist()
    form = properties.get_layout()
    if form == h5py.h5d.VIRTUAL or properties.get_external_count():
        return "lies in another file"
    filters = {properties.get_filter(index)[0] for index in range(properties.get_nfilters())}
    if not filters <= ALLOWED_FILTERS:
        return f"uses filters {sorted(filters - ALLOWED_FILTERS)}, only deflate, shuffle and fletcher32 are read"
    if form == h5py.h5d.CHUNKED:
        return _chunks(dataset, properties.get_chunk(), size)
    if form != h5py.h5d.CONTIGUOUS:
        return "is neither contiguous nor chunked"
    offset = dataset.id.get_offset()
    return "ends beyond the file" if offset is None or offset + dataset.nbytes > size else None


def _chunks(dataset: h5py.Dataset, chunk: tuple[int, ...], size: int) -> str | None:
    if math.prod(chunk) * dataset.dtype.itemsize > CHUNK_LIMIT:
        return f"has chunks of {chunk}, larger than {CHUNK_LIMIT >> 20} MiB"
    wanted = math.prod(-(-length // width) for length, width in zip(dataset.shape, chunk, strict=True))
    ends: list[int] = []
    dataset.id.chunk_iter(lambda found: ends.append(found.byte_offset + found.size))
    if len(ends) != wanted:
        return f"has {len(ends)} chunks, wanted {wanted}"
    return "ends beyond the file" if ends and max(ends) > size else None
