"""dreamerv3's .npz files -> recordings.

Two sorts of files, told by their names:
    {time}-{uuid}-{successor}-{length}.npz   chunks of the official dreamerv3: up to 1024 rows of one worker whatever episodes they
                                             hold, the first `length` of them valid, put together along their successors. A row
                                             holds the action taken at its observation.
    {time}-{id}-{length}.npz                 whole episodes, as the first two Dreamers and dreamerv3-torch write them. A row holds the
                                             action that led to its observation: the actions are moved up by one.
Keys are image and the like, action, reward, is_first, is_last, is_terminal; of older files discount, which is 0 where the task ended.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.replay.convert.archives import Archives, Header, check_columns, npz_files
from dreamctl.replay.convert.arrays import Note, RewardDtype, by_episode, stored_fields, supported
from dreamctl.replay.convert.inference import inferred_spec, matched, seen_actions
from dreamctl.replay.editing.recording import Recording
from dreamctl.replay.shards.origin import Origin

CHUNK = re.compile(r"[^-]+-[^-]+-[^-]+-\d{1,9}\.npz")
FLAGS = ("is_first", "is_last", "is_terminal", "discount")
# Of a row, what is neither observation nor action: bookkeeping, the policy's own figures and states.
NO_OBSERVATION = re.compile(
    r"action|reward|reset|logprob|stepid|consec|priority|log[_/].*|(dyn|enc|dec|deter|stoch)(/.*)?|" + "|".join(FLAGS)
)


class Piece(NamedTuple):
    """Rows of a file."""

    path: Path
    first: int
    rows: int


class Found(NamedTuple):
    """An episode: where its rows lie, and how it ended."""

    pieces: tuple[Piece, ...]
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class DreamerV3Npz:
    """A folder of dreamerv3's chunks, or of whole episodes as the older Dreamers and dreamerv3-torch write them.

    Attributes:
        reward_dtype: how rewards are stored; None as they are in the files.
        shift_actions: whether a row holds the action that led to it, so that actions are moved up; None asks the names of the files.
    """

    kind: ClassVar[str] = "dreamerv3-npz"
    reward_dtype: RewardDtype | None = None
    shift_actions: bool | None = None

    @contextmanager
    def read(self, path: Path, spec: TaskSpec | None, note: Note) -> Iterator[Recording]:
        """The episodes as a recording, to be read while inside.

        Args:
            path: the folder.
            spec: the task; None infers spaces from the arrays.
            note: told what was inferred and what is left out.

        Raises:
            InputError: a file is missing, damaged, or does not fit the others or the task.
        """
        folder = _Folder.of(path)
        found = folder.episodes(note)
        one_hot = _is_one_hot(folder.files, folder.archives, folder.headers["action"])
        spec = supported(spec or folder.inferred(one_hot, note), str(path))
        keys = matched(spec, folder.observed, path) | {"reward": "reward", "action": "action"}
        fields = stored_fields(spec, {column: folder.headers[key].dtype for column, key in keys.items()}, self.reward_dtype)
        shift = not folder.chunks if self.shift_actions is None else self.shift_actions
        choices = spec.action if one_hot else None

        def read(number: int, name: str) -> Array:
            pieces = [folder.archives.array(path, keys[name])[first : first + rows] for path, first, rows in found[number].pieces]
            column = np.concatenate(pieces)
            return _acted(column, shift, choices) if name == "action" else column

        origin, table = Origin(spec, policy={"kind": self.kind}), _table(found)
        yield by_episode(origin, fields, table, read, lambda number: str(found[number].pieces[0].path), reward_dtype=self.reward_dtype)


@dataclass(frozen=True)
class _Folder:
    """The files of one replay, all with the same keys."""

    path: Path
    files: Sequence[Path]
    chunks: bool
    archives: Archives
    headers: Mapping[str, Header]

    @classmethod
    def of(cls, path: Path) -> Self:
        """The files of a folder, all of one sort."""
        files = npz_files(path)
        others = [file for file in files if not CHUNK.fullmatch(file.name)]
        chunks = not others
        if others and len(others) < len(files):
            wanted = "TIME-ID-SUCCESSOR-LENGTH.npz"
            raise InputError(
                f"{others[0]}: is not called {wanted} as {len(files) - len(others)} others here; move it elsewhere or rename it"
            )
        archives = Archives({file: int(file.stem.split("-")[3]) for file in files} if chunks else None)
        headers = archives.alike(files, ignoring=("stepid", "consec", "priority"))
        lacking = sorted({"action", "reward"} - headers.keys())
        if lacking:
            raise InputError(f"{path}: holds no {lacking[0]}; name the folder of the replay")
        check_columns(files[0], headers, [*(name for name in headers if not NO_OBSERVATION.fullmatch(name)), "action", "reward"])
        return cls(path, files, chunks, archives, headers)

    @property
    def observed(self) -> dict[str, str]:
        """Observation -> key."""
        return {name: name for name in self.headers if not NO_OBSERVATION.fullmatch(name)}

    def episodes(self, note: Note) -> list[Found]:
        """Where the episodes lie; what is left out is told."""
        left = sorted(self.headers.keys() - self.observed.keys() - {"action", "reward", *FLAGS})
        if left:
            note(f"{self.path}: keys {', '.join(left)} are left out")
        found = _in_chunks(self.files, self.archives, note) if self.chunks else [_whole(file, self.archives) for file in self.files]
        if not found:
            raise InputError(f"{self.path}: holds no episode of two rows or more; name the folder of the replay")
        return found

    def inferred(self, one_hot: bool, note: Note) -> TaskSpec:
        """The task, of which only arrays are known."""
        width = self.headers["action"].shape
        action = gym_spaces.Discrete(width[0]) if one_hot else seen_actions(self.files, self.archives, {"": "action"})
        return inferred_spec(self.path, {name: self.headers[name] for name in self.observed}, action, note)


def _in_chunks(files: Sequence[Path], archives: Archives, note: Note) -> list[Found]:
    """The episodes of all workers, each worker's chunks one after another."""
    found: list[Found] = []
    lost = 0
    for stream in _streams(files):
        is_first, is_last, is_terminal = (_joined(stream, archives, name) for name in FLAGS[:3])
        starts = np.flatnonzero(is_first)
        ends = np.append(starts[1:], len(is_first))
        offsets = np.cumsum([0, *(archives.headers(path)["is_first"].rows for path in stream)])
        lost += int(starts[0]) if len(starts) else len(is_first)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start < 2:
                lost += end - start
                continue
            if is_last[start : end - 1].any():
                raise InputError(f"{stream[0]}: a row after one with is_last has no is_first; copy the files again")
            terminal = bool(is_terminal[end - 1])
            found.append(Found(_pieces(stream, offsets, start, end), terminal, bool(is_last[end - 1]) and not terminal))
    if lost:
        note(f"{files[0].parent}: {lost} rows before the first start of an episode, or alone in one, are left out")
    return found


def _streams(files: Sequence[Path]) -> list[list[Path]]:
    """Chunks by worker, in order: each names its successor."""
    names = {path.stem.split("-")[1]: path for path in files}
    successor = {uuid: path.stem.split("-")[2] for uuid, path in names.items()}
    streams = []
    for head in [uuid for uuid in names if uuid not in set(successor.values())]:
        stream: list[Path] = []
        uuid = head
        while uuid in names and names[uuid] not in stream:
            stream.append(names[uuid])
            uuid = successor[uuid]
        streams.append(stream)
    if sum(map(len, streams)) != len(files):
        raise InputError(f"{files[0].parent}: chunks follow one another in a circle; copy the files again")
    return streams


def _joined(stream: Sequence[Path], archives: Archives, name: str) -> NDArray[np.bool_]:
    return np.concatenate([archives.array(path, name).astype(bool) for path in stream])


def _pieces(stream: Sequence[Path], offsets: NDArray[np.int64], start: int, end: int) -> tuple[Piece, ...]:
    """Where rows `start` to `end` of a stream lie."""
    spans = [(max(start, low), min(end, high), low, path) for path, low, high in zip(stream, offsets[:-1], offsets[1:], strict=True)]
    return tuple(Piece(path, int(first - low), int(last - first)) for first, last, low, path in spans if first < last)


def _whole(path: Path, archives: Archives) -> Found:
    """The episode that a file is; the older ones tell no more of an end than that discount is 0.

    Raises:
        InputError: it holds no steps, or the end of one and more behind it.
    """
    headers = archives.headers(path)
    rows = archives.array(path, "reward").shape[0]
    if rows < 2:
        raise InputError(f"{path}: holds no steps, wanted two rows or more; leave it out")
    flags = {name: archives.array(path, name).astype(bool) for name in FLAGS[:3] if name in headers}
    for name, flag in flags.items():
        odd = np.flatnonzero(flag[1:] if name == "is_first" else flag[:-1])
        if len(odd):
            row = int(odd[0]) + (name == "is_first")
            raise InputError(f"{path}: {name} is set in row {row} of {len(flag)}, wanted one whole episode; cut it where one ends")
    if "is_terminal" in flags:
        terminated = bool(flags["is_terminal"][-1])
    else:
        terminated = "discount" in headers and float(archives.array(path, "discount")[-1]) == 0
    ended = bool(flags["is_last"][-1]) if "is_last" in flags else True
    return Found((Piece(path, 0, rows),), terminated, ended and not terminated)


def _table(found: Sequence[Found]) -> dict[str, Array]:
    lengths = np.array([sum(piece.rows for piece in episode.pieces) for episode in found])
    terminated, truncated = (np.array([getattr(episode, name) for episode in found]) for name in ("terminated", "truncated"))
    seed = np.full(len(found), -1)
    return {"length": lengths, "seed": seed, "terminated": terminated, "truncated": truncated, "complete": terminated | truncated}


def _is_one_hot(files: Sequence[Path], archives: Archives, header: Header) -> bool:
    """Whether every action is a one among zeros, or all zeros: a choice as the older files write it."""
    if len(header.shape) != 1 or header.shape[0] < 2:
        return False
    arrays = (archives.array(path, "action") for path in files)
    return all(bool(np.isin(action, (0, 1)).all()) and bool((action.sum(-1) <= 1).all()) for action in arrays)


def _acted(column: Array, shift: bool, choices: Space[object] | None) -> Array:
    """Actions taken at each row: moved up by one where a row holds the one that led to it; indices where they are choices."""
    if shift:
        column = np.concatenate([column[1:], np.zeros_like(column[:1])])
    if not isinstance(choices, gym_spaces.Discrete):
        return column
    return np.asarray(column.argmax(-1) + choices.start, np.int64)
