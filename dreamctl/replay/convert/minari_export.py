"""Recordings -> Minari datasets that Minari's own loader opens: arrays as they are stored, images not as JPEG."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.experience import Array
from dreamctl.core.files import unwritable, write_json
from dreamctl.core.spaces import is_image, nested_space, space_to_json
from dreamctl.replay.convert.arrays import only_real
from dreamctl.replay.convert.minari import DATA, METADATA, STEPS
from dreamctl.replay.editing.recording import Recording, Tick

# The first version whose loader knows `jpeg_encoding`: an older one would take raw images for JPEG, so it shall refuse.
VERSION = "0.5.4"
DATASET_ID = re.compile(r"([-_\w][-_\w/]*[-_\w]+/)?[-_\w]+-v\d+")
EPISODE_BYTES = 16 << 10  # room that the groups and headers of an episode take


@dataclass(frozen=True)
class ToMinari:
    """A Minari dataset: a folder with data/main_data.hdf5 and data/metadata.json. Where None, what an import kept.

    Attributes:
        dataset_id: [NAMESPACE/]NAME-vN; None is the path below MINARI_DATASETS_PATH, or the folder's name.
        author: who recorded it.
        author_email: how to reach them.
        code_permalink: the code that recorded it.
        algorithm_name: of the policy.
        description: of the dataset.
    """

    kind: ClassVar[str] = "minari"
    dataset_id: str | None = None
    author: tuple[str, ...] | None = None
    author_email: tuple[str, ...] | None = None
    code_permalink: str | None = None
    algorithm_name: str | None = None
    description: str | None = None

    def check(self, out: Path) -> None:
        """Refuse what Minari could not load, before anything is written.

        Raises:
            UsageError: the dataset's id is none.
        """
        self._id(out)

    def write(self, recording: Recording, new: Path, out: Path, tick: Tick | None = None) -> None:
        """Write the dataset as the folder `new`, which is to be called `out`.

        Raises:
            InputError: it is of dreams.
            OutputError: it cannot be written.
        """
        only_real(recording, "Minari datasets")
        data = new / "data"
        try:
            data.mkdir(parents=True)
            _check_room(data, recording)
            with h5py.File(data / DATA, "w", track_order=True) as file:
                bare = json.loads(_spaces(recording)["observation_space"])["type"] not in ("Dict", "Tuple")
                for number, columns in enumerate(recording.episodes(tick)):
                    group = file.create_group(f"episode_{number}")
                    _write_columns(group, columns, recording, bare)
                    _write_facts(group, columns["reward"][1:], number, int(recording.table["seed"][number]))
            with (data / DATA).open("rb") as written:
                os.fsync(written.fileno())
        except OSError as error:
            raise unwritable(out, error) from error
        steps = int(recording.lengths.sum()) - len(recording.lengths)
        size = round((data / DATA).stat().st_size / 1e6, 1)
        counts = {"total_episodes": len(recording.lengths), "total_steps": steps, "data_format": "hdf5", "jpeg_encoding": False}
        write_json(data / METADATA, {**counts, **_spaces(recording), "dataset_size": size, **self._told(recording, out)})

    def _told(self, recording: Recording, out: Path) -> dict[str, object]:
        """What people say of the dataset: as given here, or as the recording kept it from an import."""
        policy = recording.origin.policy
        kept = policy if isinstance(policy, Mapping) and policy.get("kind") == "minari" else {}
        names = ("code_permalink", "author", "author_email", "algorithm_name", "description")
        told = {name: kept.get(name) if getattr(self, name) is None else getattr(self, name) for name in names}
        if not kept and told["algorithm_name"] is None:
            told["algorithm_name"] = policy if isinstance(policy, str) else json.dumps(dict(policy))
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in told.items() if value is not None}
        return {"dataset_id": self._id(out), **given, "minari_version": VERSION}

    def _id(self, out: Path) -> str:
        root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets").absolute()
        place = out.absolute()
        name = self.dataset_id or (place.relative_to(root).as_posix() if place.is_relative_to(root) else place.name)
        if not DATASET_ID.fullmatch(name):
            mend = "give such a --dataset-id" if self.dataset_id else f"end -o with such a name, e.g. {place.name}-v0"
            raise UsageError(f"{out}: Minari calls datasets NAME-vN, not {name!r}; {mend}")
        return name


def _spaces(recording: Recording) -> dict[str, str]:
    """The spaces as a Minari dataset states them, with Gymnasium's EnvSpec where there is one."""
    spec = recording.origin.spec
    spaces = {"observation_space": space_to_json(nested_space(spec.observation)), "action_space": space_to_json(spec.action)}
    stated = {name: recording.attributes.get(name, text) for name, text in spaces.items()}
    return {**stated, "env_spec": recording.origin.gym_spec} if recording.origin.gym_spec else stated


def _write_columns(group: h5py.Group, columns: Mapping[str, Array], recording: Recording, bare: bool) -> None:
    """One episode as Minari's collector lays it out: the row of the reset has no action, reward or flags."""
    group.create_group("infos")
    for name, column in columns.items():
        role, _, key = name.partition("/")
        if role == "observation":
            _write(
                group, "observations" if bare else f"observations/{key}", column, squeeze=is_image(recording.origin.spec.observation[key])
            )
        elif role == "action":
            _write(group, f"actions/{key}".rstrip("/"), column[:-1])
        elif role == "extra":
            _write(group, f"infos/{key}", column)
        elif role in STEPS:
            _write(group, STEPS[role], column[1:])


def _write_facts(group: h5py.Group, reward: Array, number: int, seed: int) -> None:
    """What Minari's collector tells of an episode."""
    figures = {name: float(getattr(np.asarray(reward), name)()) for name in ("sum", "mean", "std", "max", "min")}
    group.attrs["id"] = number
    if seed != -1:
        # Minari draws seeds of 64 bits without a sign; the greater half of them are stored here as negative numbers.
        group.attrs["seed"] = np.uint64(seed % 2**64) if seed < 0 else seed
    group.attrs["total_steps"] = len(reward)
    group.attrs.update({f"rewards_{name}": figure for name, figure in figures.items()})


def _write(group: h5py.Group, name: str, column: Array, *, squeeze: bool = False) -> None:
    options = {"compression": "gzip", "compression_opts": 1} if squeeze else {}
    group.create_dataset(name, data=column, chunks=True, maxshape=(None, *column.shape[1:]), **options)


def _check_room(folder: Path, recording: Recording) -> None:
    """A full disk may take the process with it inside HDF5, so room is asked for first.

    Raises:
        OutputError: there is less than the arrays could take.
    """
    rows, episodes = int(recording.lengths.sum()), len(recording.lengths)
    wanted = rows * sum(field.row_bytes for field in recording.fields) + episodes * EPISODE_BYTES
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OutputError(
            f"{folder}: {free / 1e6:.0f} MB are free, up to {wanted / 1e6:.0f} MB are needed; free some space or choose another --out"
        )
