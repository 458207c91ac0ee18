"""Minari datasets -> recordings (data_format hdf5, written by Minari 0.4 and 0.5).

Minari, T steps                     rows of a replay, T+1
observations[0..T]                  observation
actions[0..T-1]                     action, a zero behind
rewards, terminations, truncations  reward, terminated, truncated, a zero in front
infos[0..T], numbers of fixed size  extra/<key>
attribute seed                      /episodes/seed; the 64 bits of an unsigned one
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from gymnasium import Space

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.spaces import flat_spaces, is_image, space_from_json, spec_difference, stored_space
from dreamctl.replay.convert.arrays import Note, RewardDtype, by_episode, rows_of_steps, stored_fields, supported
from dreamctl.replay.editing.recording import Recording
from dreamctl.replay.format import Field
from dreamctl.replay.shards.origin import Origin

DATA, METADATA = "main_data.hdf5", "metadata.json"
# What h5py raises where bytes are damaged, and what values of other types than expected do.
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError, ArithmeticError)
STEPS = {"reward": "rewards", "terminated": "terminations", "truncated": "truncations"}


@dataclass(frozen=True)
class Minari:
    """A Minari dataset: its folder, or the folder `data` in it.

    Attributes:
        reward_dtype: how rewards are stored; None as they are in the dataset.
    """

    kind: ClassVar[str] = "minari"
    reward_dtype: RewardDtype | None = None

    @contextmanager
    def read(self, path: Path, spec: TaskSpec | None, note: Note) -> Iterator[Recording]:
        """The dataset as a recording, to be read while inside.

        Args:
            path: the folder.
            spec: the task it is of, where the dataset does not tell; None asks the dataset.
            note: told what is left out.

        Raises:
            InputError: it is no such dataset, is damaged, or is of another task.
        """
        folder = path / "data" if os.path.isdir(path / "data") else path
        metadata = _metadata(folder)
        with _readable(folder / DATA):
            file = h5py.File(folder / DATA, "r")
        with file:
            with _readable(folder / DATA):
                recording = self._recording(_Dataset(folder / DATA, file, metadata), spec, note)
            yield recording

    def _recording(self, dataset: "_Dataset", spec: TaskSpec | None, note: Note) -> Recording:
        own = dataset.spec()
        difference = (
            spec_difference(TaskSpec(own.observation, own.action, spec.suite, spec.task, spec.action_repeat), spec) if spec else None
        )
        if difference:
            raise InputError(f"{dataset.path}: {difference} as in {spec.name if spec else ''}; leave --env out or name another one")
        used = supported(spec or own, str(dataset.path))
        table = dataset.table()
        infos = dataset.infos(table["length"].tolist(), note)
        fields = [*stored_fields(used, dataset.dtypes(), self.reward_dtype), *infos]
        policy = {"kind": "minari", **{key: dataset.metadata[key] for key in KEPT if key in dataset.metadata}}
        origin = Origin(used, policy=policy, gym_spec=str(dataset.metadata.get("env_spec") or ""))
        spaces = {name: str(dataset.metadata[name]) for name in ("observation_space", "action_space")}
        return by_episode(origin, fields, table, dataset.column, dataset.place, reward_dtype=self.reward_dtype, attributes=spaces)


# Of the metadata, what a later export can state again.
KEPT = ("dataset_id", "algorithm_name", "author", "author_email", "code_permalink", "description")


class _Dataset:
    """An open dataset, believed in no more than each access needs."""

    def __init__(self, path: Path, file: h5py.File, metadata: Mapping[str, Any]) -> None:
        self.path, self.file, self.metadata = path, file, metadata
        self.spaces = {name: self._space(name) for name in ("observation_space", "action_space")}
        observed = flat_spaces(self.spaces["observation_space"], bare="")
        acted = flat_spaces(self.spaces["action_space"], bare="")
        self._images = {f"observation/{name or 'observation'}": space for name, space in observed.items() if is_image(space)}
        self._where = {f"observation/{name or 'observation'}": f"observations/{name}".rstrip("/") for name in observed}
        self._where |= {f"action/{name}".rstrip("/"): f"actions/{name}".rstrip("/") for name in acted}
        self._where["reward"] = STEPS["reward"]
        self._lengths: dict[int, int] = {}

    def place(self, number: int) -> str:
        """How messages call an episode."""
        return f"{self.path}: episode_{number}"

    def spec(self) -> TaskSpec:
        """The task that the metadata tells."""
        named = self._env_spec()
        task = str(named.get("id") or self.metadata.get("dataset_id") or self.path.parent.parent.name)
        options = {"max_episode_steps": named.get("max_episode_steps"), "kwargs": named.get("kwargs") or {}} if named else {}
        leaves = sorted(flat_spaces(self.spaces["observation_space"]).items())
        observation = {name: stored_space(space) for name, space in leaves}
        return TaskSpec(observation, stored_space(self.spaces["action_space"]), "gym" if named else "minari", task, options=options)

    def table(self) -> dict[str, Array]:
        """Lengths, seeds and ends of the episodes."""
        rows: list[tuple[int, int, bool, bool]] = []
        for number in range(self.metadata["total_episodes"]):
            flags = {name: self.values(number, STEPS[name]).astype(bool) for name in ("terminated", "truncated")}
            early = np.flatnonzero((flags["terminated"] | flags["truncated"])[:-1])
            if len(early):
                raise InputError(
                    f"{self.place(number)} ends at step {early[0] + 1} and goes on; only a last step can end one, cut it there"
                )
            if not len(flags["terminated"]):
                raise InputError(f"{self.place(number)} holds no steps; leave it out")
            self._lengths[number] = len(flags["terminated"]) + 1
            rows.append((self._lengths[number], self._seed(number), bool(flags["terminated"][-1]), bool(flags["truncated"][-1])))
        if not rows:
            raise InputError(f"{self.path}: holds no episodes; record some first")
        length, seed, terminated, truncated = map(np.array, zip(*rows, strict=True))
        return {"length": length, "seed": seed, "terminated": terminated, "truncated": truncated, "complete": terminated | truncated}

    def dtypes(self) -> dict[str, np.dtype[np.generic]]:
        """The dtype of each column, as the first episode has it."""
        return {name: self.array(0, where).dtype for name, where in self._where.items()}

    def infos(self, lengths: list[int], note: Note) -> list[Field]:
        """The fields of infos that are finite numbers of one size with a row for each observation; others are told and left out."""
        group = self.file["episode_0"].get("infos")
        found: list[str] = []
        if isinstance(group, h5py.Group):
            group.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
        fields, left = [], []
        for name in sorted(found):
            first = self.array(0, f"infos/{name}")
            alike = (self._fixed(number, f"infos/{name}", rows, first) for number, rows in enumerate(lengths))
            if first.dtype.kind in "iufb" and all(alike):
                self._where[f"extra/{name}"] = f"infos/{name}"
                fields.append(Field(f"/steps/extra/{name}", first.dtype.newbyteorder("<").str, first.shape[1:], "extra"))
            else:
                left.append(name)
        if left:
            note(f"{self.path}: infos {', '.join(left)} are not finite numbers of one size in every row; they are left out")
        return fields

    def column(self, number: int, name: str) -> Array:
        """The rows of a column of one episode.

        Raises:
            InputError: they cannot be read.
        """
        with _readable(self.path):
            return self._column(number, name)

    def _column(self, number: int, name: str) -> Array:
        dataset = self.array(number, self._where[name])
        image = self._images.get(name)
        if image is not None and dataset.shape[1:] != image.shape:
            return self._decoded(number, self._where[name], image)
        values = self.values(number, self._where[name])
        lacks_one = name.split("/")[0] in ("action", "reward")
        return rows_of_steps(values, self._lengths[number], end=name != "reward") if lacks_one else values

    def values(self, number: int, where: str) -> Array:
        """All of a dataset of an episode.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return np.asarray(self.array(number, where)[()])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.place(number)}: {where} is damaged ({str(error)[:160]}); record or download it again") from error

    def array(self, number: int, where: str) -> h5py.Dataset:
        """A dataset of an episode that lies in this file and nowhere else.

        Raises:
            InputError: it is missing, or lies elsewhere.
        """
        parts = [f"episode_{number}", *where.split("/")]
        for depth in range(1, len(parts) + 1):
            if not isinstance(self.file.get("/".join(parts[:depth]), getlink=True), h5py.HardLink):
                raise InputError(f"{self.path}: {'/'.join(parts[:depth])} is missing or a link; record or download it again")
        dataset = self.file["/".join(parts)]
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise InputError(f"{self.path}: {'/'.join(parts)} is no dataset of its own; record or download it again")
        return dataset

    def _env_spec(self) -> dict[str, Any]:
        """Gymnasium's EnvSpec, {} where none is told."""
        text = self.metadata.get("env_spec") or "{}"
        try:
            named = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            named = None
        if not isinstance(named, dict):
            raise InputError(f"{self.path.parent / METADATA}: env_spec is no JSON object: {str(text)[:80]!r}; take it out or save it anew")
        return named

    def _space(self, name: str) -> Space[object]:
        if name not in self.metadata:
            raise InputError(f"{self.path.parent / METADATA}: states no {name}; load and save it with Minari 0.5 first")
        try:
            return space_from_json(str(self.metadata[name]))
        except InputError as error:
            raise InputError(f"{self.path.parent / METADATA}: {name}: {error}") from error

    def _seed(self, number: int) -> int:
        seed = self.file[f"episode_{number}"].attrs.get("seed")
        if seed is None or str(seed) == "None":
            return -1
        try:
            found = int(seed)
            return int(np.array(found, np.uint64).astype(np.int64)) if found > 0 else int(np.int64(found))
        except (ValueError, TypeError, OverflowError) as error:
            place = self.place(number)
            raise InputError(f"{place}: seed is {str(seed)[:40]!r}, wanted one whole number; record or download it again") from error

    def _fixed(self, number: int, where: str, rows: int, first: h5py.Dataset) -> bool:
        if where not in self.file[f"episode_{number}"]:
            return False
        found = self.array(number, where)
        alike = bool(found.dtype == first.dtype) and found.shape == (rows, *first.shape[1:])
        return alike and (found.dtype.kind != "f" or bool(np.isfinite(self.values(number, where)).all()))

    def _decoded(self, number: int, where: str, space: Space[object]) -> Array:
        """Images that Minari stored as JPEG: exactly what its own loader gives."""
        from PIL import Image

        try:
            images = [np.array(Image.open(io.BytesIO(np.asarray(row, np.uint8).tobytes())), np.uint8) for row in self.values(number, where)]
        except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{self.place(number)}: {where} holds no JPEG images ({str(error)[:160]}); record or download it again"
            ) from error
        if any(image.shape != space.shape for image in images):
            raise InputError(f"{self.place(number)}: {where} holds images of shape {images[0].shape}, the space says {space.shape}")
        return np.stack(images)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what damage raises into one line.

    Raises:
        InputError: the file is damaged, or holds something else than expected.
    """
    try:
        yield
    except DAMAGE as error:
        cause = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path}: not readable ({cause}); download or record it again") from error


def _metadata(folder: Path) -> dict[str, Any]:
    for path in (folder / METADATA, folder / DATA):
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(f"{path}: not a regular file; download or record the dataset again")
    try:
        metadata = json.loads((folder / METADATA).read_text())
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise InputError(f"{folder / METADATA}: not readable ({cause}); a Minari dataset is a folder with data/{METADATA}") from error
    if not isinstance(metadata, dict) or metadata.get("data_format", "hdf5") != "hdf5" or "total_episodes" not in metadata:
        found = metadata.get("data_format") if isinstance(metadata, dict) else None
        raise InputError(f"{folder / METADATA}: data_format is {found!r}, wanted 'hdf5'; convert it with Minari first")
    total = metadata["total_episodes"]
    if not isinstance(total, int):
        raise InputError(f"{folder / METADATA}: total_episodes is {str(total)[:40]!r}, wanted a whole number; download or record it again")
    return metadata
