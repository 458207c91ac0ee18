"""Files that are no shard, or a broken or malicious one: each made of a good shard by one change."""

import json
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import TaskSpec
from dreamctl.replay.format import schema_id
from tests.replay.rows import episode_rows, write

SPEC = TaskSpec(
    {"image": Box(0, 255, (32, 32, 3), np.uint8), "vector": Box(-np.inf, np.inf, (3,), np.float32)}, Discrete(5), "gym", "Toy-v0"
)
LENGTHS = (40, 30, 26)
ROWS, CAPACITY = sum(LENGTHS), 128
REWARD, ACTION, VECTOR, IMAGE = "/steps/reward", "/steps/action", "/steps/observation/vector", "/steps/observation/image"
GZIP = {"compression": "gzip", "compression_opts": 1}

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One file and what the refusal says of it.

    Attributes:
        change: what makes the good file at a path a bad one; it may leave other files beside it.
        told: words of the refusal; None where the file is only odd and is read as if nothing were.
        live: whether the good file is a live shard.
    """

    change: Change
    told: str | None
    live: bool = False


def sealed_shard(folder: Path) -> Path:
    """A sealed shard of three episodes, of images and vectors."""
    rows = []
    for number, length in enumerate(LENGTHS):
        for step, row in enumerate(episode_rows(number, length)):
            image = np.random.default_rng(len(rows)).integers(0, 4, (32, 32, 3), np.uint8)
            observation = {"image": image, "vector": np.array([0, number, step], np.float32)}
            rows.append(replace(row, observation=observation))
    return next(write(folder, rows, spec=SPEC).glob("*.h5"))


def live_shard(sealed: Path, path: Path) -> Path:
    """The rows of a sealed shard as a live one, its last episode still open."""
    with h5py.File(sealed) as source, h5py.File(path, "w", libver=("v110", "v110")) as file:
        for name, value in source.attrs.items():
            if name != "sealed_sha256":
                file.attrs.create(name, b"live" if name == "state" else value, dtype="S4" if name == "state" else None)
        rows, episodes = ROWS - 6, len(LENGTHS) - 1
        for item in json.loads(source.attrs["schema"]):
            stored = source[item["path"]]
            known, capacity = (episodes + 1, 16) if item["role"] == "episode" else (rows, CAPACITY)
            dataset = file.create_dataset(item["path"], (capacity, *stored.shape[1:]), stored.dtype)
            dataset[:known] = stored[:known]
        file["/commit"] = np.array([rows, episodes, 0, 0], "<i8")
    return path


def bytes_changed(change: Callable[[bytes], bytes]) -> Change:
    """Change the bytes of the file."""
    return lambda path: void(path.write_bytes(change(path.read_bytes())))


def cut(share: float) -> Change:
    """Keep the front of the file."""
    return bytes_changed(lambda data: data[: int(share * len(data))])


def flipped(marker: bytes, behind: int, mask: int = 0x10) -> Change:
    """Flip a bit some bytes behind the first place where a marker stands."""

    def change(data: bytes) -> bytes:
        place = data.index(marker) + behind
        return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]

    return bytes_changed(change)


def hdf5(change: Callable[[h5py.File], object]) -> Change:
    """Change the file through HDF5."""

    def edit(path: Path) -> None:
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            change(file)

    return edit


def value(dataset: str, row: int, new: object) -> Change:
    """Change one value."""
    return hdf5(lambda file: file[dataset].__setitem__(row, new))


def attribute(name: str, new: object) -> Change:
    """Replace an attribute of the root; text as a byte string of fixed length."""
    stored = np.bytes_(new) if isinstance(new, str) else new
    return hdf5(lambda file: file.attrs.__setitem__(name, stored))


def instead(dataset: str, make: Callable[[h5py.File], object]) -> Change:
    """Put something else in the place of a dataset or group."""

    def change(file: h5py.File) -> None:
        del file[dataset]
        make(file)

    return hdf5(change)


def data(dataset: str, array: Any, **options: Any) -> Change:
    """Put other values in the place of a dataset."""
    return instead(dataset, lambda file: file.create_dataset(dataset, data=array, **options))


def shaped(dataset: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> Change:
    """Put a dataset that was never written in the place of another one."""
    return instead(dataset, lambda file: file.create_dataset(dataset, shape, dtype, **options))


def schema(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    """Change the schema list, its schema_id with it."""

    def edit(file: h5py.File) -> None:
        items = json.loads(file.attrs["schema"])
        change(items)
        text(file, "schema", json.dumps(items))

    return hdf5(edit)


def text(file: h5py.File, name: str, content: str) -> None:
    """Put a text in the place of an attribute: as a dataset under /meta where it is long; the schema_id follows the schema."""
    del file.attrs[name]
    if len(content) > 32 << 10:
        file.create_dataset(f"/meta/{name}", data=np.frombuffer(content.encode(), np.uint8), chunks=(1 << 16,), **GZIP)
    else:
        file.attrs[name] = np.bytes_(content)
    if name == "schema":
        file.attrs["schema_id"] = np.bytes_(schema_id(content))


def task(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the task spec."""

    def edit(file: h5py.File) -> None:
        plain = json.loads(file.attrs["task_spec"])
        change(plain)
        text(file, "task_spec", json.dumps(plain))

    return hdf5(edit)


def beside(path: Path) -> Path:
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    pipe = path.with_name(f"{path.name}.pipe")
    if not pipe.exists():
        os.mkfifo(pipe)
    return pipe


def void(_: object) -> None:
    """Nothing."""


def replaced(make: Change) -> Change:
    """Something else of the same name."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def linked_outside(name: str) -> Change:
    """A group or dataset lies in another file, which is a pipe."""

    def change(path: Path) -> None:
        pipe = beside(path)
        instead(name, lambda file: file.__setitem__(name, h5py.ExternalLink(pipe.name, name)))(path)

    return change


def text_outside(path: Path) -> None:
    """The task spec lies in another file, which is a pipe."""
    pipe = beside(path)

    def change(file: h5py.File) -> None:
        del file.attrs["task_spec"]
        file["/meta/task_spec"] = h5py.ExternalLink(pipe.name, "/x")

    hdf5(change)(path)


def stored_outside(path: Path) -> None:
    """The bytes of a dataset lie in another file, which is a pipe."""
    pipe = beside(path)
    shaped(REWARD, (ROWS,), "<f4", external=[(str(pipe), 0, 4 * ROWS)])(path)


def virtual(path: Path) -> None:
    """A dataset is made of one in another file, which is a pipe."""
    source = h5py.VirtualSource(str(beside(path)), "x", (ROWS,), "<f4")
    layout = h5py.VirtualLayout((ROWS,), "<f4")
    layout[:] = source
    instead(REWARD, lambda file: file.create_virtual_dataset(REWARD, layout))(path)


def low_level(dataset: str, shape: tuple[int, ...], dtype: Any, prepare: Callable[[h5py.h5p.PropDCID], object]) -> Change:
    """Put a dataset of properties that h5py has no words for in the place of another one."""

    def make(file: h5py.File) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        prepare(properties)
        kind = dtype if isinstance(dtype, h5py.h5t.TypeID) else h5py.h5t.py_create(np.dtype(dtype), logical=True)
        made = h5py.h5d.create(file.id, dataset.encode(), kind, h5py.h5s.create_simple(shape), properties)
        if np.dtype("<f4") == dtype:
            h5py.Dataset(made)[:] = np.arange(shape[0])

    return instead(dataset, make)


def compact(properties: h5py.h5p.PropDCID) -> None:
    """Keep the bytes in the header."""
    properties.set_layout(h5py.h5d.COMPACT)


def unknown_filter(properties: h5py.h5p.PropDCID) -> None:
    """A filter that may be left out, and is."""
    properties.set_chunk((ROWS,))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))


def swapped_filters(properties: h5py.h5p.PropDCID) -> None:
    """Deflate before shuffle."""
    properties.set_chunk((ROWS,))
    properties.set_deflate(1)
    properties.set_shuffle()


def odd_float() -> h5py.h5t.TypeID:
    """Four bytes, but with another exponent than any machine's."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    return kind


def raw_chunk(dataset: str, dtype: str, raw: bytes, **options: Any) -> Change:
    """A dataset of one chunk whose bytes are these, whatever they mean."""

    def make(file: h5py.File) -> None:
        made = file.create_dataset(dataset, (ROWS,), dtype, chunks=(ROWS,), **options)
        made.id.write_direct_chunk((0,), raw)

    return instead(dataset, make)


def few_of_many_chunks(dataset: str, rows: int) -> Change:
    """A dataset that says it is endless, of which only the first chunk was ever written."""

    def make(file: h5py.File) -> None:
        made = file.create_dataset(dataset, (rows,), "<f4", chunks=(1 << 20,), **GZIP)
        made[:4] = 1

    return instead(dataset, make)


def shrunk(file: h5py.File) -> None:
    """A dataset whose index still counts the chunks of its larger days."""
    made = file.create_dataset(REWARD, (1 << 16,), "<f4", chunks=(1,), maxshape=(None,))
    made[(1 << 16) - 1] = 1
    made.resize((ROWS,))
    made[:] = 0


def one_place(file: h5py.File) -> None:
    """Two flags are one dataset under two names, and agree."""
    del file["/steps/truncated"]
    file["/steps/truncated"] = file["/steps/terminated"]
    file["/episodes/truncated"][:] = file["/episodes/terminated"][:]


def claim(file: h5py.File, rows: int, step: Callable[[h5py.File, str, tuple[int, ...], Any], object], generation: int) -> None:
    """Let every step dataset and /commit claim so many rows."""
    for item in json.loads(file.attrs["schema"]):
        if item["role"] != "episode":
            kind = file[item["path"]].dtype
            del file[item["path"]]
            step(file, item["path"], (rows, *item["shape"]), kind)
    file["/commit"][:] = [rows, file["/commit"][1], 0, generation]


def endless_zeros(path: Path) -> None:
    """Sixty million rows of zeros: two megabytes of file, two gigabytes of memory."""
    rows, height = 60 << 20, 1 << 20

    def step(file: h5py.File, name: str, shape: tuple[int, ...], kind: Any) -> None:
        made = file.create_dataset(name, shape, kind, chunks=(height, *shape[1:]), **GZIP)
        packed = zlib.compress(bytes(math.prod(made.chunks) * kind.itemsize), 9)
        for first in range(0, rows, height):
            made.id.write_direct_chunk((first, *(0 for _ in shape[1:])), packed)

    task(lambda plain: plain["observation"].pop("image"))(path)
    schema(lambda items: items.remove(next(item for item in items if item["path"] == IMAGE)))(path)
    hdf5(lambda file: claim(file, rows, step, 1))(path)


def sparse_live(path: Path) -> None:
    """A live shard of a terabyte, all of it a hole."""
    rows = 1 << 30

    def step(file: h5py.File, name: str, shape: tuple[int, ...], kind: Any) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        stored = h5py.h5t.py_create(kind, logical=True)
        h5py.h5d.create(file.id, name.encode(), stored, h5py.h5s.create_simple(shape), properties)

    hdf5(lambda file: claim(file, rows, step, 0))(path)
