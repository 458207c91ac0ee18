"""What replays are converted from and to: each union is the registry of its kinds."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, get_args

from dreamctl.core.errors import InputError, UsageError, nearest
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import spec_difference
from dreamctl.replay.convert.arrays import Note, RewardDtype
from dreamctl.replay.convert.dreamerv3 import DreamerV3Npz
from dreamctl.replay.convert.minari import METADATA, Minari
from dreamctl.replay.convert.minari_export import ToMinari
from dreamctl.replay.convert.npz import PlainNpz, ToNpz
from dreamctl.replay.editing.recording import Recording, Tick, write_recording
from dreamctl.replay.editing.selection import selected, whole_episodes
from dreamctl.replay.reader import open_replay


@dataclass(frozen=True)
class OurReplay:
    """A replay, file or folder.

    Attributes:
        reward_dtype: how rewards are stored from now on; None as they are.
    """

    kind: ClassVar[str] = "replay"
    reward_dtype: RewardDtype | None = None

    @contextmanager
    def read(self, path: Path, spec: TaskSpec | None, note: Note) -> Iterator[Recording]:
        """Its whole episodes as a recording.

        Raises:
            InputError: it is no replay, holds no whole episode, or is of another task.
        """
        _check_ours(path)
        replay = open_replay([path])
        difference = spec_difference(replay.spec, spec) if spec else None
        if difference:
            raise InputError(f"{path}: {difference}; leave --env out")
        infos = whole_episodes(replay)
        if not infos:
            raise InputError(f"{path}: holds no whole episode; collect some with `dreamctl collect`")
        lost = replay.rows - sum(info.length for info in infos)
        if lost:
            note(f"{path}: {lost} rows of no whole episode are left out")
        recording = selected(replay, infos)
        dtype = {"reward": f"<{self.reward_dtype}"} if self.reward_dtype else {}
        yield replace(recording, fields=[replace(field, dtype=dtype.get(field.role, field.dtype)) for field in recording.fields])


@dataclass(frozen=True)
class ToReplay:
    """A replay folder."""

    kind: ClassVar[str] = "replay"
    single: ClassVar[bool] = False

    def check(self, out: Path) -> None:
        """Refuse a name that means the other sort.

        Raises:
            UsageError: it does.
        """
        if (out.suffix == ".h5") != self.single:
            wanted = "NAME.h5" if self.single else "a folder, not NAME.h5"
            raise UsageError(f"{out}: --to {self.kind} writes {wanted}; choose another --out or --to")

    def write(self, recording: Recording, new: Path, out: Path, tick: Tick | None = None) -> None:
        """Write the replay as `new`, which is to be called `out`, and validate it.

        Raises:
            OutputError: it cannot be written.
            InputError: what was converted is no replay: values that are not finite, choices that there are not, and the like.
        """
        write_recording(new, recording, tick)
        try:
            open_replay([new])
        except InputError as error:
            raise InputError(str(error).replace(str(new), f"what would be {out}")) from error


@dataclass(frozen=True)
class ToFile(ToReplay):
    """A replay in one file."""

    kind: ClassVar[str] = "h5"
    single: ClassVar[bool] = True


Source = OurReplay | Minari | DreamerV3Npz | PlainNpz
Target = ToReplay | ToFile | ToMinari | ToNpz


def _check_ours(path: Path) -> None:
    """Refuse a folder that looks like one of another format.

    Raises:
        InputError: it does; the option that reads it is named.
    """
    if not os.path.isdir(path) or any(path.glob("*.h5")):
        return
    if any(os.path.isfile(folder / METADATA) for folder in (path, path / "data")):
        raise InputError(f"{path}: is a Minari dataset; read it with --from minari")
    if any(path.glob("*.npz")):
        raise InputError(f"{path}: holds .npz files; read them with --from npz or --from dreamerv3-npz")


def chosen_kind(union: UnionType, kind: str, flag: str, options: Mapping[str, object]) -> Any:
    """The kind of this name with the options that were given; None was not given.

    Raises:
        UsageError: no kind is called so, or it has no such option.
    """
    kinds = {cls.kind: cls for cls in get_args(union)}
    if kind not in kinds:
        raise UsageError(f"{flag} {kind}: no such format{nearest(kind, kinds)}")
    given = {name: value for name, value in options.items() if value is not None}
    odd = sorted(given.keys() - {field.name for field in fields(kinds[kind])})
    if odd:
        raise UsageError(f"--{odd[0].replace('_', '-')}: {flag} {kind} has no such option; leave it out")
    return kinds[kind](**given)
