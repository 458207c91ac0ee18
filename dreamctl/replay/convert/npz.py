"""Plain .npz episodes <-> recordings: a folder with one file an episode, in the order of their names.

key                        shape
observation[/<key>]        (T+1, ...)    the final observation too
action[/<key>]             (T+1, ...)    the last is not taken; (T, ...) is read as well
reward                     (T+1,)        received on arriving, so the first is 0; (T,) is read as well
terminated, truncated      (T+1,)        set on the last row at most; (T,) and one value are read as well
extra/<key>                (T+1, ...)    optional
seed                       ()            optional: of the reset, -1 where it is not known
task_spec                  ()            optional: the TaskSpec as JSON text; without it spaces are inferred
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.files import write_whole
from dreamctl.core.spaces import spec_difference, spec_from_json, spec_to_json
from dreamctl.replay.convert.archives import Archives, Header, check_columns, npz_files
from dreamctl.replay.convert.arrays import Note, RewardDtype, by_episode, only_real, rows_of_steps, stored_fields, supported
from dreamctl.replay.convert.inference import inferred_spec, matched, seen_actions
from dreamctl.replay.editing.recording import Recording, Tick
from dreamctl.replay.format import Field
from dreamctl.replay.shards.origin import Origin

FLAGS = ("terminated", "truncated")


@dataclass(frozen=True)
class PlainNpz:
    """A folder of plain .npz episodes.

    Attributes:
        reward_dtype: how rewards are stored; None as they are in the files.
    """

    kind: ClassVar[str] = "npz"
    reward_dtype: RewardDtype | None = None

    @contextmanager
    def read(self, path: Path, spec: TaskSpec | None, note: Note) -> Iterator[Recording]:
        """The episodes as a recording, to be read while inside.

        Args:
            path: the folder, or one file.
            spec: the task; None is what the files tell, inferred where they do not.
            note: told what was inferred.

        Raises:
            InputError: a file is missing, damaged, or does not fit the others or the task.
        """
        files, archives = npz_files(path), Archives()
        headers = archives.alike(files, ignoring=(*FLAGS, "seed", "task_spec"))
        observed, acted, extras = _sorted_keys(path, headers, note)
        check_columns(files[0], headers, [*observed.values(), *acted.values(), *extras, *_reward(headers)])
        table = _table(files, archives, next(iter(observed.values())))
        spec = _told(files[0], archives, spec)
        if spec is None:
            spec = inferred_spec(path, {name: headers[key] for name, key in observed.items()}, seen_actions(files, archives, acted), note)
        keys = matched(supported(spec, str(path)), observed, path) | {key: key for key in (*acted.values(), *extras)}
        fields = stored_fields(spec, {column: headers[key].dtype for column, key in keys.items()} | _reward(headers), self.reward_dtype)
        fields += [Field(f"/steps/{name}", headers[name].dtype.newbyteorder("<").str, headers[name].shape, "extra") for name in extras]

        def read(number: int, name: str) -> Array:
            column = archives.array(files[number], keys.get(name, name))
            in_steps = name.split("/")[0] in ("action", "reward")
            return rows_of_steps(column, int(table["length"][number]), end=name != "reward") if in_steps else column

        origin = Origin(spec, policy={"kind": "npz"})
        yield by_episode(origin, fields, table, read, lambda number: str(files[number]), reward_dtype=self.reward_dtype)


@dataclass(frozen=True)
class ToNpz:
    """A folder of plain .npz episodes, compressed."""

    kind: ClassVar[str] = "npz"

    def check(self, out: Path) -> None:
        """Any name will do."""

    def write(self, recording: Recording, new: Path, out: Path, tick: Tick | None = None) -> None:
        """Write the episodes as the folder `new`.

        Raises:
            InputError: it is of dreams.
            OutputError: it cannot be written.
        """
        del out
        only_real(recording, "npz files")
        told = np.array(spec_to_json(recording.origin.spec))
        for number, columns in enumerate(recording.episodes(tick)):
            arrays = {_key(name): column for name, column in columns.items() if name != "is_first"}
            arrays |= {"seed": np.asarray(recording.table["seed"][number]), "task_spec": told}
            content = io.BytesIO()
            np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
            write_whole(new / f"episode-{number:06d}.npz", partial(_fill, content.getvalue()))


def _sorted_keys(path: Path, headers: Mapping[str, Header], note: Note) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Observation -> key, leaf of the action -> key, and the further columns."""
    observed = {name.removeprefix("observation/"): name for name in headers if name.split("/")[0] == "observation"}
    acted = {name.removeprefix("action").removeprefix("/"): name for name in headers if name.split("/")[0] == "action"}
    if not observed or not acted:
        lacking = "action" if observed else "observation"
        raise InputError(f"{path}: has no {lacking}; wanted keys observation, action, reward, terminated and truncated")
    extras = [name for name in headers if name.startswith("extra/")]
    others = sorted(headers.keys() - {*observed.values(), *acted.values(), *extras, "reward", "is_first"})
    if others:
        note(f"{path}: keys {', '.join(others)} are left out; further columns are called extra/NAME")
    return observed, acted, extras


def _reward(headers: Mapping[str, Header]) -> dict[str, np.dtype[np.generic]]:
    return {"reward": headers["reward"].dtype} if "reward" in headers else {}


def _fill(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _told(path: Path, archives: Archives, given: TaskSpec | None) -> TaskSpec | None:
    """The task that a file tells or that was given; both have to be one."""
    text = archives.text(path, "task_spec")
    if text is None:
        return given
    told = spec_from_json(text)
    difference = spec_difference(told, given) if given else None
    if difference:
        raise InputError(f"{path}: {difference}; leave --env out or name another one")
    return told


def _table(files: Sequence[Path], archives: Archives, observation: str) -> dict[str, Array]:
    """Length, seed and end of each episode."""
    lengths = [archives.headers(path)[observation].rows for path in files]
    short = next((path for path, rows in zip(files, lengths, strict=True) if rows < 2), None)
    if short:
        raise InputError(f"{short}: holds no steps, wanted two rows or more; leave it out")
    seeds = [_seed(archives.array(path, "seed"), path) if "seed" in archives.headers(path) else -1 for path in files]
    flags = {name: np.array([_last(path, archives, name, rows) for path, rows in zip(files, lengths, strict=True)]) for name in FLAGS}
    complete = flags["terminated"] | flags["truncated"]
    return {"length": np.array(lengths), "seed": np.array(seeds, np.int64), **flags, "complete": complete}


def _seed(found: Array, path: Path) -> np.int64:
    """The seed of an episode, the 64 bits of an unsigned one.

    Raises:
        InputError: it is not one whole number.
    """
    if found.size != 1 or found.dtype.kind not in "iu":
        raise InputError(f"{path}: seed is {found.dtype} {found.shape}, wanted one whole number; -1 where it is not known")
    return np.int64(found.astype(np.int64).item())


def _last(path: Path, archives: Archives, name: str, rows: int) -> bool:
    """Whether a flag is set on the last row; on an earlier one it cannot be."""
    flags = np.atleast_1d(archives.array(path, name)).astype(bool)
    if len(flags) not in (1, rows - 1, rows) or flags[:-1].any():
        raise InputError(
            f"{path}: {name} is set before the last of {rows} rows, or has {len(flags)} of them; cut the episode where it ends"
        )
    return bool(flags[-1])


def _key(column: str) -> str:
    return "observation" if column == "observation/observation" else column
