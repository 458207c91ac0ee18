"""`data convert`: replays from and to other formats."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dreamctl.core.experience import TaskSpec
from dreamctl.core.session import Session
from dreamctl.envs.discovery import build_suite, load_suite, resolve
from dreamctl.envs.lanes import task_spec
from dreamctl.envs.suite import make_env
from dreamctl.replay.convert.kinds import Source, Target, chosen_kind
from dreamctl.stages.replacing import check_folder, check_replay, replaced, ticking
from dreamctl.stages.tables import count

# What a folder of a foreign format holds; one with something else is not replaced.
ENTRIES = {"minari": ("data",), "npz": ("episode-[0-9][0-9][0-9][0-9][0-9][0-9]*.npz",)}
# And its folders.
INSIDE = {"minari": {"data": ("main_data.hdf5", "metadata.json")}}
SOURCE_OPTIONS = ("reward_dtype", "shift_actions")


@dataclass(frozen=True)
class Converted:
    """What was written, and from what.

    Attributes:
        notes: what was inferred or left out.
    """

    path: Path
    source: str
    target: str
    env: str
    episodes: int
    env_steps: int
    notes: Sequence[str]

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {**asdict(self), "path": str(self.path), "notes": list(self.notes)}

    def summary(self) -> str:
        """One line."""
        amount = f"{count(self.env_steps, 'step')} of {self.env} in {count(self.episodes, 'episode')}"
        return f"{self.path}: {amount}, {self.source} to {self.target}"


def convert(source: Path, out: Path, kinds: tuple[str, str | None], options: Mapping[str, object], session: Session) -> Converted:
    """Read whole episodes from one format and write them in another.

    Args:
        source: a file or folder.
        out: what is written.
        kinds: `--from` and `--to`; None goes by the name of `out`.
        options: of the two kinds and `env`; None was not given. Those of the source are named in SOURCE_OPTIONS.
        session: how it is run.

    Raises:
        UsageError, InputError, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    given = dict(options)
    env = given.pop("env", None)
    reader = chosen_kind(Source, kinds[0], "--from", {name: given.pop(name, None) for name in SOURCE_OPTIONS})
    target = kinds[1] or ("h5" if out.suffix == ".h5" else "replay")
    writer = chosen_kind(Target, target, "--to", given)
    writer.check(out)
    _check(source, out, target, session)
    notes: list[str] = []

    def note(message: str) -> None:
        notes.append(message)
        session.progress.note(message)

    with reader.read(source, _spec(str(env)) if env else None, note) as found, replaced(out) as new:
        recording = replace(found, origin=replace(found.origin, command=session.command))
        writer.write(recording, new, out, ticking("convert", out, session))
    steps = int(recording.lengths.sum()) - len(recording.lengths)
    return Converted(out, kinds[0], target, recording.origin.spec.name, len(recording.lengths), steps, notes)


def _check(source: Path, out: Path, target: str, session: Session) -> None:
    if target in ("replay", "h5"):
        check_replay(out, session, [source])
    else:
        check_folder(out, session, ENTRIES[target])
        for inside, ours in INSIDE.get(target, {}).items():
            check_folder(out / inside, session, ours)


def _spec(env: str) -> TaskSpec:
    """The task that ENV on the command line names, from an environment that is made for it."""
    suite_name, task = resolve(env)
    suite = build_suite(load_suite(suite_name), {})
    made = make_env(suite, task)
    try:
        return task_spec(suite, task, made)
    finally:
        made.close()
