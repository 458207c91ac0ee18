"""The schema of a replay file: which datasets it has, how they are stored, and what identifies its content.

One row an observation (time table: core/experience.py). `N` rows, `E` episodes; dtypes are NumPy's, little-endian.

    path                              dtype              shape        stored sealed as
    /steps/observation/<key>          of the space       (N, ...)     chunks of about 192 KiB, gzip-1; float64 becomes <f4
    /steps/action                     <f4, <i8 or |i1    (N, ...)     4096 rows, shuffle, gzip-1, fletcher32
    /steps/action/<key>               the same           (N, ...)     same; where the action is a Dict or Tuple
    /steps/reward                     <f4 (or <f8)       (N,)         same
    /steps/is_first|terminated|truncated   |b1           (N,)         same
    /steps/extra/<key>                any fixed          (N, ...)     as observations
    /steps/truth/<key>                as observations    (N, ...)     as observations; imagined files only
    /steps/truth_valid                |b1                (N,)         as reward; imagined files only
    /episodes/start|length|seed|id|segment     <i8       (E,)         4096 rows, gzip-1
    /episodes/return                  <f8                (E,)         same
    /episodes/terminated|truncated|complete    |u1       (E,)         same
    /episodes/context|source_shard|source_row  <i8       (E,)         same; imagined files only
    /commit                           <i8                (4,)         rows, episodes, durable rows, generation; unlisted

A live shard has the same datasets contiguous, longer than what is committed of them: `n = f["commit"][0]; f["steps/reward"][:n]` holds
for both. Rows count as written when /commit says so; durable rows survive a loss of power; generation is 0 live and 1 sealed.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from gymnasium import Space
from numpy.typing import NDArray

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec

Kind = Literal["env", "imagined"]

FORMAT = "dreamctl-replay"
VERSION = "1.0"
ALIGNMENT = "obs_t,reward_t,flags_t,action_t"
LIBVER = ("v110", "v110")
CHUNK_LIMIT = 16 << 20
SCHEMA_LIMIT = 512 << 10  # characters: thousands of datasets
LIVE, SEALED = 0, 1  # the last number of /commit
SMALL_ROW = 256  # bytes; smaller rows are kept in memory
FLAGS = ("is_first", "terminated", "truncated")


@dataclass(frozen=True)
class Field:
    """One dataset: its path, NumPy dtype string, shape of one row, and role."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    role: str

    @property
    def per_episode(self) -> bool:
        """Whether it has a row an episode and not a row a step."""
        return self.role == "episode"

    @property
    def name(self) -> str:
        """The column's name in memory: the path below /steps or /episodes."""
        return self.path.split("/", 2)[2]

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * math.prod(self.shape))

    @property
    def big(self) -> bool:
        """Whether its rows stay where they lie and are read when asked for; the others are kept in memory."""
        # An import may keep doubles where readers give float32: a column is big in all replays of a task or in none.
        size = self.row_bytes // 2 if self.role == "observation" and self.dtype == "<f8" else self.row_bytes
        return self.role in ("observation", "extra", "truth") and size > SMALL_ROW

    def chunk_rows(self, rows: int) -> int:
        """Rows of one chunk of a dataset of `rows` rows."""
        wanted = 4096
        if self.role in ("observation", "extra", "truth"):
            fitting = max(1, (192 << 10) // max(1, self.row_bytes))
            wanted = min(4096, max(16, 1 << (fitting.bit_length() - 1)))
        return max(1, min(rows, wanted, CHUNK_LIMIT // max(1, self.row_bytes)))

    def storage(self, rows: int) -> dict[str, object]:
        """Keyword arguments of `h5py.Group.create_dataset` for a sealed dataset of `rows` rows."""
        chunks = (self.chunk_rows(rows), *(max(1, size) for size in self.shape))
        options: dict[str, object] = {"chunks": chunks, "compression": "gzip", "compression_opts": 1}
        if self.role not in ("observation", "extra", "truth", "episode"):
            options |= {"shuffle": True, "fletcher32": True}
        return options


def stored_dtype(space: Space[object]) -> str:
    """How values of an observation space are stored: the environment's dtype, float64 as float32."""
    dtype = np.dtype(space.dtype)
    return "<f4" if dtype == np.float64 else dtype.newbyteorder("<").str


def step_fields(spec: TaskSpec) -> list[Field]:
    """The step datasets that every replay of this task has."""
    fields = [Field(f"/steps/observation/{key}", stored_dtype(s), shape_of(s), "observation") for key, s in spec.observation.items()]
    action = ActionCodec(spec.action)
    for name, leaf in action.leaves.items():
        path = f"/steps/action/{name}" if action.nested else "/steps/action"
        fields.append(Field(path, leaf.dtype.newbyteorder("<").str, leaf.shape, "action"))
    fields.append(Field("/steps/reward", "<f4", (), "reward"))
    return fields + [Field(f"/steps/{flag}", "|b1", (), flag) for flag in FLAGS]


def column_fields(columns: Mapping[str, Array], role: Literal["extra", "truth"]) -> list[Field]:
    """The datasets of further step columns, given as name -> (N, ...)."""
    return [Field(f"/steps/{role}/{key}", fixed_dtype(column), column.shape[1:], role) for key, column in sorted(columns.items())]


def truth_fields(truth: Mapping[str, Array]) -> list[Field]:
    """The datasets of what really happened beside a dream; none without truth."""
    return [*column_fields(truth, "truth"), Field("/steps/truth_valid", "|b1", (), "truth_valid")] if truth else []


def episode_fields(kind: Kind) -> list[Field]:
    """The datasets with a row an episode."""
    whole = ["start", "length", "seed", "id", "segment"]
    fields = [Field(f"/episodes/{name}", "<i8", (), "episode") for name in whole]
    fields.append(Field("/episodes/return", "<f8", (), "episode"))
    fields += [Field(f"/episodes/{name}", "|u1", (), "episode") for name in ("terminated", "truncated", "complete")]
    if kind == "imagined":
        fields += [Field(f"/episodes/{name}", "<i8", (), "episode") for name in ("context", "source_shard", "source_row")]
    return fields


def schema_to_json(fields: Sequence[Field]) -> str:
    """The schema list as canonical JSON."""
    return json.dumps([asdict(field) for field in fields], sort_keys=True, separators=(",", ":"))


def schema_from_json(text: str) -> list[Field]:
    """The schema list that `schema_to_json` wrote.

    Raises:
        InputError: the text is not a schema list.
    """
    try:
        if len(text) > SCHEMA_LIMIT:
            raise ValueError(f"{len(text)} characters, at most {SCHEMA_LIMIT}")
        fields = [_field(item["path"], item["dtype"], item["shape"], item["role"]) for item in json.loads(text)]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"schema: not readable ({error}): {text[:80]}") from error
    return fields


def _field(path: str, dtype: str, shape: list[int], role: str) -> Field:
    """One dataset of a schema that was read.

    Raises:
        ValueError: a path, dtype or shape that none has.
    """
    if not (isinstance(path, str) and isinstance(role, str) and _in_place(path, role)):
        raise ValueError(f"{path!r} is no place for {role!r}")
    if not re.fullmatch("[<|][biuf][1248]", dtype):
        raise ValueError(f"{path}: dtype {dtype!r} is not a little-endian number")
    if len(shape) > 16 or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{path}: {str(shape)[:80]} is no shape")
    if math.prod(shape) * np.dtype(dtype).itemsize > CHUNK_LIMIT:
        raise ValueError(f"{path}: a row of {shape} is larger than {CHUNK_LIMIT >> 20} MiB")
    assert_fixed(np.dtype(dtype))
    return Field(path, dtype, tuple(shape), role)


def _in_place(path: str, role: str) -> bool:
    """Whether datasets of this role lie there; no path leads up or nowhere."""
    root, *parts = path.split("/")
    if root or any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        return False
    if role == "episode":
        return parts[0] == "episodes" and len(parts) == 2
    named = len(parts) > 2
    return parts[:2] == ["steps", role] and (role == "action" or named == (role in ("observation", "extra", "truth")))


def schema_id(text: str) -> str:
    """SHA-256 of the canonical JSON of the schema list."""
    return hashlib.sha256(text.encode()).hexdigest()


def schema_difference(found: Sequence[Field], wanted: Sequence[Field]) -> str | None:
    """Every dataset in which two schemas differ, in words; None where they are equal."""
    left, right = ({field.path: field for field in fields} for fields in (found, wanted))
    differing = [path for path in sorted(left.keys() | right.keys()) if left.get(path) != right.get(path)]
    return "; ".join(f"{path} is {_shown(left.get(path))}, wanted {_shown(right.get(path))}" for path in differing) or None


def parted(action: Array) -> dict[str, Array]:
    """The datasets of an action column, by name below /steps: one, or one for each field of a structured array."""
    fields = cast("NDArray[np.void]", action)
    return {f"action/{leaf}": fields[leaf] for leaf in action.dtype.names} if action.dtype.names else {"action": action}


def shape_of(space: Space[object]) -> tuple[int, ...]:
    """The shape of one value of a space."""
    assert space.shape is not None
    return tuple(space.shape)


def fixed_dtype(column: Array) -> str:
    """The little-endian dtype string under which a column is stored."""
    dtype = column.dtype.newbyteorder("<")
    assert_fixed(dtype)
    return dtype.str


def assert_fixed(dtype: np.dtype[np.generic]) -> None:
    """Refuse what is not a fixed-size little-endian number or truth value.

    Raises:
        ValueError: the dtype is of another sort.
    """
    if dtype.kind not in "iufb" or dtype.newbyteorder("<") != dtype:
        raise ValueError(f"dtype {dtype.str} is not a little-endian number")


def _shown(field: Field | None) -> str:
    return "absent" if field is None else f"{field.dtype} {field.shape}"
