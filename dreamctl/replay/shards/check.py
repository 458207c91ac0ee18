"""What the rows of a shard must satisfy before they are believed: episode table, flags, values. Never looks at big columns."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.parts import ChoiceCodec, LeafCodec, leaf_codec
from dreamctl.replay.format import Kind
from dreamctl.replay.shards.header import MEND


def episodes(path: Path, kind: Kind, table: Mapping[str, Array], steps: Mapping[str, Array]) -> None:
    """The episode table and the flags and rewards of the rows agree.

    Raises:
        InputError: they do not.
    """
    rows = len(steps["is_first"])
    start, length, segment = (np.asarray(table[name], np.int64) for name in ("start", "length", "segment"))
    if (length < 1).any() or (length > rows).any() or (start != np.append(0, np.cumsum(length))[:-1]).any() or length.sum() != rows:
        raise InputError(f"{path}: /episodes does not cover the {rows} rows one after another; {MEND}")
    if (segment[1:] != 0).any() or (segment < 0).any():
        raise InputError(f"{path}: /episodes/segment goes on with an episode in the middle of a shard; {MEND}")
    for name, told in (_strange(kind, table) | {"return": _wrong_return(table, steps["reward"])}).items():
        if told.any():
            raise InputError(f"{path}: /episodes/{name} row {int(told.argmax())} is {table[name][told.argmax()]}, which cannot be; {MEND}")
    first = np.zeros(rows, bool)
    first[start[segment == 0]] = True
    _same(path, "is_first", "on the first row of an episode and nowhere else", steps["is_first"], first)
    for flag in ("terminated", "truncated"):
        last = np.zeros(rows, bool)
        last[start + length - 1] = table[flag] != 0
        _same(path, flag, "on a last row where /episodes says so and nowhere else", steps[flag], last)


def _strange(kind: Kind, table: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
    """Column -> where it holds what no episode has."""
    flags = {name: np.asarray(table[name], np.uint8) for name in ("terminated", "truncated", "complete")}
    numbers = np.asarray(table["id"], np.int64)
    alike = np.ones(len(numbers), bool)
    alike[np.unique(numbers, return_index=True)[1]] = False
    found = {name: column > 1 for name, column in flags.items()} | {"id": (numbers < 0) | alike}
    if kind == "env":
        found["complete"] |= (flags["terminated"] | flags["truncated"]) > flags["complete"]
        return found
    context = np.asarray(table["context"], np.int64)
    found["context"] = (context < 0) | (context > np.asarray(table["length"], np.int64))
    return found | {name: np.asarray(table[name], np.int64) < -1 for name in ("source_shard", "source_row")}


def _wrong_return(table: Mapping[str, Array], reward: Array) -> NDArray[np.bool_]:
    """Where the return is not the sum of the rewards, but for rounding; an unknown reward is told of elsewhere."""
    if not len(table["start"]) or not np.isfinite(reward.sum(dtype=np.float64)):
        return np.zeros(len(table["start"]), bool)
    numbers, starts = np.asarray(reward, np.float64), np.asarray(table["start"], np.int64)
    slack = 1e-9 + 1e-6 * np.add.reduceat(np.abs(numbers), starts)
    return np.asarray(~(np.abs(np.asarray(table["return"], np.float64) - np.add.reduceat(numbers, starts)) <= slack))


def values(path: Path, spec: TaskSpec, table: Mapping[str, Array], steps: Mapping[str, Array]) -> None:
    """Rewards, vectors and actions are finite, and choices are of those that there are.

    Raises:
        InputError: names file, key and row of the first value that is not.
    """
    if not len(steps["reward"]):
        return
    for name, column in steps.items():
        finite(path, name, column)
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


def finite(path: Path, name: str, column: Array, first: int = 0) -> None:
    """Rows of a column of the task are finite; `first` is the row of the shard that they begin with.

    Raises:
        InputError: names file, column and row of the first one that is not.
    """
    # What else was recorded beside them may be anything.
    if column.dtype.kind != "f" or name.startswith(("extra/", "truth/")):
        return
    # One sum tells whether all is well; only then is it worth asking where it is not. Doubles are read as single numbers.
    with np.errstate(all="ignore"):
        single = column.astype("<f4") if column.dtype.itemsize > 4 else column
        if np.isfinite(single.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(single.reshape(len(column), -1)).all(-1)
    if bad.any():
        row = int(bad.argmax())
        place, value = f"{path}: /steps/{name} row {first + row}", " ".join(str(column[row]).split())
        value = value if len(value) <= 80 else f"{value[:77]}..."
        raise InputError(f"{place} is {value}, wanted finite numbers; mend the environment and collect again")


def _same(path: Path, flag: str, where: str, found: Array, wanted: NDArray[np.bool_]) -> None:
    stored = found.view(np.uint8)
    differs = stored != wanted
    if differs.any():
        row = int(differs.argmax())
        raise InputError(f"{path}: /steps/{flag} row {row} is {stored[row]}, it must be set {where}; {MEND}")
