"""The corpus: every sort of file that is refused, and what is said of it."""

import os
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.replay.hostile import (
    ACTION,
    CAPACITY,
    GZIP,
    IMAGE,
    REWARD,
    ROWS,
    VECTOR,
    Case,
    attribute,
    beside,
    bytes_changed,
    claim,
    compact,
    cut,
    data,
    endless_zeros,
    few_of_many_chunks,
    flipped,
    hdf5,
    instead,
    linked_outside,
    low_level,
    odd_float,
    one_place,
    raw_chunk,
    replaced,
    schema,
    shaped,
    shrunk,
    sparse_live,
    stored_outside,
    swapped_filters,
    task,
    text,
    text_outside,
    unknown_filter,
    value,
    virtual,
)

FLOATS = np.zeros(ROWS, "<f4")
DAMAGED = "truncated or damaged"
NO_HDF5 = "not HDF5; a replay is needed here"
FOREIGN = "HDF5, but not a dreamctl-replay file"
DISORDER = f"/episodes does not cover the {ROWS} rows one after another"


def random_bytes(path: Path) -> None:
    """The signature, and noise behind it."""
    path.write_bytes(b"\x89HDF\r\n\x1a\n\x03" + np.random.default_rng(0).bytes(8000))


def foreign(libver: str) -> Any:
    """HDF5 of somebody else."""

    def make(path: Path) -> None:
        with h5py.File(path, "w", libver=(libver, "v110")) as file:
            file["data"] = np.arange(4000)

    return replaced(make)


def first(items: list[dict[str, Any]], path: str = REWARD) -> dict[str, Any]:
    """The entry of a dataset in a schema list."""
    return next(item for item in items if item["path"] == path)


def wide_chunk(path: Path) -> None:
    """A further column, all of it in one chunk of 24 MiB."""
    name, row = "/steps/extra/wide", 1 << 18
    schema(lambda items: items.append({"path": name, "dtype": "|u1", "shape": [row], "role": "extra"}))(path)
    hdf5(lambda file: file.create_dataset(name, (ROWS, row), "|u1", chunks=(ROWS, row), **GZIP))(path)


def many_chunks(file: h5py.File, name: str, shape: tuple[int, ...], kind: Any) -> None:
    """A chunk a row."""
    file.create_dataset(name, shape, kind, chunks=(1, *shape[1:]), **GZIP)


FILES = {
    "empty": Case(replaced(lambda path: path.touch()), NO_HDF5),
    "text": Case(replaced(lambda path: path.write_text("hello, this is text\n" * 500)), NO_HDF5),
    "png": Case(replaced(lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(4000))), NO_HDF5),
    "checkpoint": Case(replaced(lambda path: path.write_bytes(b"PK\x03\x04" + bytes(4000))), "is a checkpoint; a replay is needed here"),
    "pipe": Case(replaced(os.mkfifo), "not a regular file"),
    "device": Case(replaced(lambda path: path.symlink_to("/dev/zero")), "not a regular file"),
    "folder": Case(replaced(lambda path: path.mkdir()), "holds no shards"),
    "dangling": Case(replaced(lambda path: path.symlink_to("nowhere.h5")), "No such file or directory"),
    "circle": Case(replaced(lambda path: path.symlink_to(path.name)), "cannot read"),
    "signature": Case(replaced(lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n\x03" + bytes(200))), DAMAGED),
    "noise": Case(replaced(random_bytes), DAMAGED),
    "foreign old": Case(foreign("earliest"), FOREIGN),
    "foreign new": Case(foreign("v110"), FOREIGN),
    "user block": Case(bytes_changed(lambda raw: bytes(512) + raw), NO_HDF5),
    "older superblock": Case(bytes_changed(lambda raw: raw[:8] + b"\0" + raw[9:]), FOREIGN),
    "other superblock": Case(bytes_changed(lambda raw: raw[:8] + b"\2" + raw[9:]), DAMAGED),
    "cut in the superblock": Case(bytes_changed(lambda raw: raw[:20]), DAMAGED),
    "cut in the header": Case(bytes_changed(lambda raw: raw[:2100]), DAMAGED),
    "cut early": Case(cut(0.1), DAMAGED),
    "cut in the chunks": Case(cut(0.5), DAMAGED),
    "cut late": Case(cut(0.95), DAMAGED),
    "cut by a byte": Case(bytes_changed(lambda raw: raw[:-1]), DAMAGED),
    "zeros from the middle on": Case(bytes_changed(lambda raw: raw[: len(raw) // 2] + bytes(len(raw) - len(raw) // 2)), "damaged"),
    "zeros in front": Case(bytes_changed(lambda raw: raw[:48] + bytes(2000) + raw[2048:]), "damaged"),
    "live cut": Case(cut(0.5), DAMAGED, live=True),
    "live cut by a byte": Case(bytes_changed(lambda raw: raw[:-1]), DAMAGED, live=True),
    "flipped superblock": Case(flipped(b"HDF", 20), DAMAGED),
    "flipped attribute": Case(flipped(b"obs_t,reward_t", 3), "damaged"),
    "flipped schema": Case(flipped(b'"role":"reward"', 9), "damaged"),
    "flipped header": Case(flipped(b"OHDR", 20), "damaged"),
    "flipped chunk index": Case(flipped(b"FADB", 20), "damaged"),
}
LINKS = {
    "soft link": Case(instead(REWARD, lambda file: file.__setitem__(REWARD, h5py.SoftLink(ACTION))), "/steps/reward is a link"),
    "dangling soft link": Case(instead(REWARD, lambda file: file.__setitem__(REWARD, h5py.SoftLink("/no"))), "/steps/reward is a link"),
    "soft link to itself": Case(instead("/steps", lambda file: file.__setitem__("/steps", h5py.SoftLink("/steps"))), "/steps is a link"),
    "soft link for commit": Case(instead("/commit", lambda file: file.__setitem__("/commit", h5py.SoftLink(REWARD))), "/commit is a link"),
    "dataset outside": Case(linked_outside(REWARD), "/steps/reward is a link"),
    "group outside": Case(linked_outside("/steps"), "/steps is a link"),
    "image outside": Case(linked_outside(IMAGE), "image is a link"),
    "commit outside": Case(linked_outside("/commit"), "/commit is a link"),
    "text outside": Case(text_outside, "/meta/task_spec is a link"),
    "bytes outside": Case(stored_outside, "/steps/reward lies in another file"),
    "virtual": Case(virtual, "/steps/reward lies in another file"),
    "one place": Case(hdf5(one_place), "two of its datasets or chunks lie in one place"),
}
LAYOUTS = {
    "compact": Case(low_level(REWARD, (ROWS,), "<f4", compact), "is neither contiguous nor chunked"),
    "never written": Case(shaped(REWARD, (ROWS,), "<f4"), "ends beyond the file"),
    "missing chunks": Case(shaped(REWARD, (ROWS,), "<f4", chunks=(4,)), "has 0 chunks, wanted 24"),
    "chunk too large": Case(wide_chunk, "larger than 16 MiB"),
    "many chunks": Case(hdf5(lambda file: claim(file, 10**9, many_chunks, 1)), "claims 1000000000 chunks on"),
    "chunks of half images": Case(shaped(IMAGE, (ROWS, 32, 32, 3), "|u1", chunks=(ROWS, 32, 32, 1)), "wanted whole rows"),
    "chunks of half rows": Case(shaped(VECTOR, (ROWS, 3), "<f4", chunks=(ROWS, 1)), "wanted whole rows"),
    "lzf": Case(data(REWARD, FLOATS, compression="lzf"), "uses filters [32000]"),
    "scaleoffset": Case(data(ACTION, np.zeros(ROWS, "<i8"), scaleoffset=4), "uses filters [6]"),
    "unknown filter": Case(low_level(REWARD, (ROWS,), "<f4", unknown_filter), "uses filters [32015]"),
    "swapped filters": Case(low_level(REWARD, (ROWS,), "<f4", swapped_filters), "wanted the order"),
    "bomb": Case(raw_chunk(REWARD, "<f4", zlib.compress(bytes(400 << 20), 9), **GZIP), f"is not {4 * ROWS} bytes deflated"),
    "short chunk": Case(raw_chunk(REWARD, "<f4", zlib.compress(bytes(8)), **GZIP), "/steps/reward is damaged (is"),
    "chunk of noise": Case(raw_chunk(REWARD, "<f4", bytes(range(200)), **GZIP), f"is not {4 * ROWS} bytes deflated"),
    "chunk of nothing": Case(raw_chunk(REWARD, "<f4", b"\x78\x01\x03\x00\x00\x00\x00\x01", **GZIP), "/steps/reward is damaged (is"),
    "half a chunk": Case(raw_chunk(REWARD, "<f4", bytes(4 * ROWS - 4), shuffle=True), "cannot hold"),
    "wrong checksum": Case(raw_chunk(REWARD, "<f4", bytes(4 * ROWS) + b"\1\0\0\0", fletcher32=True), "differs from its checksum"),
    "endless": Case(few_of_many_chunks(REWARD, 10**12), f"holds {10**12} rows, /commit says {ROWS}"),
    "shrunk": Case(hdf5(lambda file: (file.__delitem__(REWARD), shrunk(file))), "can be resized"),
    "resizable": Case(data(REWARD, FLOATS, maxshape=(None,), chunks=(16,)), "can be resized"),
    "zeros": Case(endless_zeros, "MiB of small columns on"),
    "live chunked": Case(data(REWARD, np.zeros(CAPACITY, "<f4"), chunks=(CAPACITY,)), "is not contiguous", live=True),
    "live called sealed": Case(attribute("state", "sealed"), "lacks its sealed_sha256", live=True),
    "sealed called live": Case(attribute("state", "live"), "is not contiguous"),
    "live of holes": Case(sparse_live, "MiB of small columns on", live=True),
}
TYPES = {
    "big-endian": Case(data(REWARD, FLOATS.astype(">f4")), "is of dtype >f4, the schema says <f4"),
    "double": Case(data(REWARD, FLOATS.astype("<f8")), "is of dtype <f8"),
    "half": Case(data(VECTOR, np.zeros((ROWS, 3), "<f2")), "is of dtype <f2"),
    "narrow action": Case(data(ACTION, np.zeros(ROWS, "<i4")), "is of dtype <i4"),
    "bytes for flags": Case(data("/steps/is_first", np.zeros(ROWS, "|u1")), "is of dtype |u1, the schema says |b1"),
    "odd float": Case(low_level(REWARD, (ROWS,), odd_float(), lambda _: None), "is of dtype"),
    "strings": Case(data(REWARD, np.zeros(ROWS, "S4")), "is of dtype |S4"),
    "texts": Case(shaped(REWARD, (ROWS,), h5py.string_dtype()), "is of dtype |O"),
    "lists": Case(shaped(REWARD, (ROWS,), h5py.vlen_dtype(np.float32)), "is of dtype |O"),
    "references": Case(shaped(REWARD, (ROWS,), h5py.ref_dtype), "is of dtype |O"),
    "records": Case(shaped(REWARD, (ROWS,), [("a", "<f4"), ("b", "<i8")]), "is of dtype |V12"),
    "opaque": Case(shaped(REWARD, (ROWS,), "V4"), "is of dtype |V4"),
    "bits": Case(low_level(REWARD, (ROWS,), h5py.h5t.STD_B32LE, lambda _: None), "is of dtype"),
    "arrays": Case(shaped(REWARD, (ROWS,), np.dtype(("<f4", (2,)))), "/steps/reward is of"),
    "scalar": Case(data(REWARD, np.float32(1)), "is of shape ()"),
    "nothing": Case(data(REWARD, h5py.Empty("<f4")), "is of shape ()"),
    "too deep": Case(data(REWARD, FLOATS[:, None]), f"is of shape ({ROWS}, 1)"),
    "too flat": Case(data(VECTOR, FLOATS), f"is of shape ({ROWS},)"),
    "too wide": Case(data(VECTOR, np.zeros((ROWS, 4), "<f4")), f"is of shape ({ROWS}, 4)"),
    "too short": Case(data(REWARD, FLOATS[:-1]), f"holds {ROWS - 1} rows, /commit says {ROWS}"),
    "too long": Case(data(REWARD, np.zeros(ROWS + 1, "<f4")), f"holds {ROWS + 1} rows, /commit says {ROWS}"),
    "missing column": Case(instead(REWARD, lambda _: None), "/steps/reward is missing"),
    "missing group": Case(instead("/episodes", lambda _: None), "/episodes is missing"),
    "missing commit": Case(instead("/commit", lambda _: None), "/commit is missing"),
    "group for a column": Case(instead(REWARD, lambda file: file.create_group(REWARD)), "/steps/reward is not a dataset"),
    "column for a group": Case(data("/steps/observation", FLOATS), "damaged"),
    "type for a column": Case(instead(REWARD, lambda file: file.__setitem__(REWARD, np.dtype("<f4"))), "/steps/reward is not a dataset"),
}
VALUES = {
    "reward not a number": Case(value(REWARD, 3, np.nan), "/steps/reward row 3 is nan, wanted finite numbers"),
    "endless reward": Case(value(REWARD, 3, -np.inf), "/steps/reward row 3 is -inf"),
    "endless vector": Case(value(VECTOR, 6, [0, np.inf, 0]), "vector row 6 is [ 0. inf 0.], wanted finite numbers"),
    "unknown action": Case(value(ACTION, 2, 5), "/steps/action row 2 is 5, wanted one of Discrete(5)"),
    "negative action": Case(value(ACTION, 2, -1), "/steps/action row 2 is -1"),
    "first in the middle": Case(value("/steps/is_first", 3, True), "/steps/is_first row 3 is 1"),
    "first missing": Case(value("/steps/is_first", 40, False), "/steps/is_first row 40 is 0"),
    "end in the middle": Case(value("/steps/terminated", 3, True), "/steps/terminated row 3 is 1"),
    "end missing": Case(value("/steps/truncated", 69, False), "/steps/truncated row 69 is 0"),
    "start late": Case(value("/episodes/start", 0, 1), DISORDER),
    "gap": Case(value("/episodes/start", 1, 41), DISORDER),
    "overlap": Case(value("/episodes/length", 0, 41), DISORDER),
    "empty episode": Case(value("/episodes/length", 1, 0), DISORDER),
    "negative length": Case(value("/episodes/length", 1, -30), DISORDER),
    "endless length": Case(value("/episodes/length", 1, 2**63 - 1), DISORDER),
    "negative start": Case(value("/episodes/start", 0, -(2**63)), DISORDER),
    "last too short": Case(value("/episodes/length", 2, 25), DISORDER),
    "goes on in the middle": Case(value("/episodes/segment", 1, 1), "/episodes/segment goes on with an episode in the middle"),
    "negative segment": Case(value("/episodes/segment", 0, -1), "/episodes/segment goes on"),
    "first goes on": Case(value("/episodes/segment", 0, 1), "/steps/is_first row 0 is 1"),
    "ended, not complete": Case(value("/episodes/complete", 0, 0), "/episodes/complete row 0 is 0"),
    "more than complete": Case(value("/episodes/complete", 0, 2), "/episodes/complete row 0 is 2"),
    "more than true": Case(value("/episodes/terminated", 0, 255), "/episodes/terminated row 0 is 255"),
    "end not told": Case(value("/episodes/terminated", 0, 0), "/steps/terminated row 39 is 1"),
    "one id twice": Case(value("/episodes/id", 1, 0), "/episodes/id row 1 is 0"),
    "negative id": Case(value("/episodes/id", 0, -7), "/episodes/id row 0 is -7"),
    "other return": Case(value("/episodes/return", 1, 1e9), "/episodes/return row 1 is 1000000000.0"),
    "return not a number": Case(value("/episodes/return", 1, np.nan), "/episodes/return row 1 is nan"),
    "fewer committed": Case(value("/commit", 0, ROWS - 1), "/commit is"),
    "more committed": Case(value("/commit", 0, ROWS + 1), f"rows, /commit says {ROWS + 1}"),
    "more episodes": Case(value("/commit", 1, 4), "holds 3 rows, /commit says 4"),
    "negative commit": Case(value("/commit", 0, -1), "/commit is [-1, 3"),
    "negative episodes": Case(value("/commit", 1, -1), f"/commit is [{ROWS}, -1"),
    "more durable than written": Case(value("/commit", 2, ROWS + 1), "/commit is"),
    "one counter": Case(data("/commit", np.array([ROWS], "<i8")), "/commit holds 1 rows, wanted 4"),
    "narrow counters": Case(data("/commit", np.array([ROWS, 3, ROWS, 1], "<i4")), "/commit is of dtype <i4"),
    "live beyond its place": Case(value("/commit", 0, CAPACITY + 1), f"holds {CAPACITY} rows, /commit says {CAPACITY + 1}", live=True),
    "live of too many episodes": Case(value("/commit", 1, 17), "holds 16 rows, /commit says 17", live=True),
    "live not a number": Case(value(REWARD, 75, np.nan), "/steps/reward row 75 is nan", live=True),
    "live first missing": Case(value("/steps/is_first", 0, False), "/steps/is_first row 0 is 0", live=True),
    "live last id": Case(lambda path: [value("/episodes/id", row, 2**63 - 1)(path) for row in range(3)], "/episodes/id row", live=True),
    "live table of zeros": Case(value("/episodes/length", 0, 0), "/episodes does not cover", live=True),
}
ATTRIBUTES = {
    "no format": Case(hdf5(lambda file: file.attrs.__delitem__("format")), FOREIGN),
    "no task": Case(hdf5(lambda file: file.attrs.__delitem__("task_spec")), "attribute task_spec is missing"),
    "other format": Case(attribute("format", "other-replay"), FOREIGN),
    "newer version": Case(attribute("format_version", "2.0"), "format version 2.0, this dreamctl reads 1.x"),
    "older version": Case(attribute("format_version", "0.9"), "format version 0.9, this dreamctl reads 1.x"),
    "no version": Case(attribute("format_version", "\x1b[2J\nx"), "format version"),
    "text of any length": Case(hdf5(lambda file: file.attrs.__setitem__("state", "sealed")), "not a byte string of fixed length"),
    "list of texts": Case(attribute("state", np.array([b"sealed"] * 3)), "not a byte string of fixed length"),
    "no text": Case(attribute("state", h5py.Empty("S6")), "not a byte string of fixed length"),
    "number for text": Case(attribute("state", 7), "not a byte string of fixed length"),
    "no unicode": Case(attribute("state", np.bytes_(b"\xff\xfe\xff")), "damaged root attributes"),
    "odd state": Case(attribute("state", "dead\n\x1b[31m"), "state is 'dead"),
    "odd kind": Case(attribute("kind", "odd"), "kind 'odd'"),
    "odd alignment": Case(attribute("alignment", "odd"), "alignment 'odd'"),
    "other schema": Case(attribute("schema", "[]"), "schema is not the one its schema_id names"),
    "empty schema": Case(hdf5(lambda file: text(file, "schema", "[]")), "is absent, wanted"),
    "schema of garbage": Case(hdf5(lambda file: text(file, "schema", "{\n\x1b[2J")), "schema: not readable"),
    "schema of numbers": Case(hdf5(lambda file: text(file, "schema", "[1, 2]")), "schema: not readable"),
    "huge schema": Case(hdf5(lambda file: text(file, "schema", "[" + "0," * (3 << 20) + "0]")), "more than 2 MiB"),
    "large schema": Case(hdf5(lambda file: text(file, "schema", "[" + "[]," * (1 << 19) + "0]")), "1572867 characters, at most 524288"),
    "deep schema": Case(hdf5(lambda file: text(file, "schema", "[" * 100_000)), "schema: not readable"),
    "deep task": Case(hdf5(lambda file: text(file, "task_spec", '{"a":' * 100_000)), "task spec: not readable"),
    "upward path": Case(schema(lambda items: first(items).update(path="/steps/../x")), "schema: not readable"),
    "path of this": Case(schema(lambda items: first(items, VECTOR).update(path="/steps/observation/./x")), "schema: not readable"),
    "foreign path": Case(schema(lambda items: first(items).update(path="/etc/passwd")), "schema: not readable"),
    "path of nothing": Case(schema(lambda items: first(items, VECTOR).update(path="/steps/observation//")), "schema: not readable"),
    "path of no letters": Case(schema(lambda items: first(items, VECTOR).update(path="/steps/observation/\0\n")), "schema: not readable"),
    "path of a number": Case(schema(lambda items: first(items).update(path=7)), "schema: not readable"),
    "path twice": Case(schema(lambda items: items.append(first(items))), "names a dataset twice"),
    "odd role": Case(schema(lambda items: first(items).update(role="reward2")), "schema: not readable"),
    "schema of objects": Case(schema(lambda items: first(items).update(dtype="|O")), "dtype '|O' is not a little-endian number"),
    "schema of lists": Case(schema(lambda items: first(items).update(dtype="(9999,9999,9999)<f8")), "is not a little-endian number"),
    "negative shape": Case(schema(lambda items: first(items, VECTOR).update(shape=[-3])), "is no shape"),
    "broken shape": Case(schema(lambda items: first(items, VECTOR).update(shape=[1.5])), "is no shape"),
    "huge shape": Case(schema(lambda items: first(items, VECTOR).update(shape=[10**9, 10**9])), "is larger than 16 MiB"),
    "other shape": Case(schema(lambda items: first(items, VECTOR).update(shape=[4])), "wanted <f4 (3,)"),
    "column of the task missing": Case(schema(lambda items: items.remove(first(items, VECTOR))), "is absent, wanted <f4 (3,)"),
    "task of garbage": Case(attribute("task_spec", "\n\n{"), "task spec: not readable"),
    "task of nothing": Case(attribute("task_spec", "{}"), "task spec: not readable"),
    "task of a list": Case(attribute("task_spec", "[]"), "task spec: not readable"),
    "huge image": Case(task(lambda plain: plain["observation"]["image"].update(shape=[10**6, 10**6])), "more than 16 MiB"),
    "huge choice": Case(task(lambda plain: plain["action"].update(n=10**30)), "task spec: not readable"),
    "no choice": Case(task(lambda plain: plain["action"].update(n=0)), "task spec: not readable"),
    "huge switches": Case(task(lambda plain: plain.update(action={"type": "MultiBinary", "n": 10**12})), "more than 16 MiB"),
    "letters for an action": Case(task(lambda plain: plain.update(action={"type": "Text"})), "task spec: not readable"),
    "no observation": Case(task(lambda plain: plain.update(observation={})), "observation space is empty"),
    "nested observation": Case(
        task(lambda plain: plain["observation"].update(vector={"type": "Dict", "subspaces": {"a": plain["action"]}})), "is a Dict space"
    ),
    "task of control letters": Case(task(lambda plain: plain.update(task="\x1b]0;x\x07")), "task spec: not readable"),
    "negative seq": Case(attribute("seq", np.int64(-1)), "attribute seq is -1"),
    "list of seq": Case(attribute("seq", np.arange(3)), "attribute seq is not a whole number"),
    "broken seq": Case(attribute("seq", np.float64("nan")), "attribute seq is not a whole number"),
    "huge first_row": Case(attribute("first_row", np.int64(2**63 - 1)), "attribute first_row is"),
    "stream of a path": Case(attribute("stream", "../../x"), "is no name"),
    "stream of lines": Case(attribute("stream", "a\nb"), "is no name"),
    "odd hash": Case(attribute("sealed_sha256", "xyz"), "attribute sealed_sha256 is no SHA-256"),
    "no hash": Case(hdf5(lambda file: file.attrs.__delitem__("sealed_sha256")), "lacks its sealed_sha256"),
}
CASES = {**FILES, **LINKS, **LAYOUTS, **TYPES, **VALUES, **ATTRIBUTES}


def circle(file: h5py.File) -> None:
    """Groups that hold one another."""
    file["/steps/root"] = file["/"]
    file["/steps/again"] = file["/steps"]


def contiguous(file: h5py.File) -> None:
    """All datasets of a sealed shard without chunks."""
    paths: list[str] = []
    file.visititems(lambda name, item: paths.append(name) if isinstance(item, h5py.Dataset) else None)
    for path in paths:
        values = file[path][:]
        del file[path]
        file[path] = values


def renamed(path: Path) -> None:
    """A link of the file system."""
    path.rename(path.with_name(f"{path.name}.moved"))
    path.symlink_to(f"{path.name}.moved")


def pipe_aside(path: Path) -> None:
    """A link to a pipe that nobody asks for."""
    pipe = beside(path)
    hdf5(lambda file: file.__setitem__("/steps/aside", h5py.ExternalLink(pipe.name, "/x")))(path)


ODD = {
    "more datasets": Case(hdf5(lambda file: file.__setitem__("/steps/other", np.arange(3))), None),
    "more attributes": Case(hdf5(lambda file: file.attrs.__setitem__("note", "mine")), None),
    "circles": Case(hdf5(circle), None),
    "contiguous": Case(hdf5(contiguous), None),
    "linked file": Case(renamed, None),
    "pipe aside": Case(pipe_aside, None),
    "newer minor version": Case(attribute("format_version", "1.9"), None),
    "live, more behind": Case(value(REWARD, 100, np.nan), None, live=True),
    "live, a longer table": Case(value("/episodes/length", 2, 2**40), None, live=True),
}
