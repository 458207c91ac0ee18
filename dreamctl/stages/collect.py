"""`collect`: an environment under a policy, written as a replay."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.experience import TaskSpec
from dreamctl.core.locks import sole_writer
from dreamctl.core.session import Session
from dreamctl.envs.driver import Driver, Environments, Frames, Policy, gym_spec
from dreamctl.replay.folder import SHARDS, check_idle, parts_folder, places, shards_folder
from dreamctl.replay.format import step_fields
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.merge import drop_merged_parts
from dreamctl.replay.writing.recovery import recover
from dreamctl.replay.writing.twins import Before
from dreamctl.stages.environments import check_lanes, environments, take
from dreamctl.stages.experiment import CollectConfig, Resolved
from dreamctl.stages.output import check_directory, check_file, remove_output
from dreamctl.stages.plan import Plan
from dreamctl.stages.replacing import check_shards
from dreamctl.stages.tables import count


@dataclass(frozen=True)
class CollectResult:
    """What was collected by this call; `total_steps` counts what the replay holds in all."""

    path: Path
    env: str
    env_steps: int
    frames: int
    episodes: int
    return_mean: float | None
    total_steps: int

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {**vars(self), "path": str(self.path)}

    def summary(self) -> str:
        """For a person."""
        frames = "" if self.frames == self.env_steps else f" ({self.frames:,} frames)"
        mean = "" if self.return_mean is None else f", mean return {self.return_mean:.1f}"
        added = f"{count(self.env_steps, 'step')}{frames} of {self.env} in {count(self.episodes, 'episode')}{mean}"
        return f"{self.path}: {added}; {self.total_steps:,} in all"


def collect(resolved: Resolved, out: Path, policy: Path | None, session: Session, frames: bool = False) -> CollectResult:
    """Act in the environment and write what happens.

    Args:
        resolved: the experiment; sections env and collect.
        out: a folder, or NAME.h5.
        policy: an agent checkpoint; None acts at random.
        session: how it is run. `resume` fills the replay up to `collect.steps` or `collect.episodes` in all, `append` adds so many.
        frames: store `env.render()` beside each row.

    Raises:
        UsageError, InputError, EnvironmentFailure, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    _check(out, session)
    check_lanes(resolved.experiment.env)
    with _alone(out, session):
        return _collect(resolved, out, policy, session, frames)


@contextmanager
def _alone(out: Path, session: Session) -> Iterator[None]:
    """Meanwhile no other process fills this output; whoever appends has streams of its own and may do so beside others.

    Raises:
        OutputError: another process writes it.
    """
    if session.existing == "append":
        yield
        return
    with sole_writer(out):
        check_idle(shards_folder(out))
        yield


def _collect(resolved: Resolved, out: Path, policy: Path | None, session: Session, frames: bool) -> CollectResult:
    config = resolved.experiment.collect
    append = session.existing in ("append", "resume")
    if append:
        drop_merged_parts(out)
        recover_rows(shards_folder(out), session)
    folder = Before.of(shards_folder(out)) if append else Before()
    before, complete = _there(out, session)
    ever = before + folder.gone_steps
    tally = _Tally(config.steps, config.episodes)
    if session.existing == "resume":
        tally = _Tally(max(0, config.steps - before), None if config.episodes is None else max(0, config.episodes - complete))
    with environments(resolved.experiment.env, frames) as (_, envs, spec):
        # One file that is finished takes no more rows, so it must not be opened when none are wanted; one in parts is made of them.
        if not (session.existing == "resume" and tally.done) or parts_folder(out) in places(out):
            actor, known_as = _policy(policy, spec, session, ever)
            pictures = Frames(config.frame_size) if frames else None
            if session.existing == "overwrite":
                _make_room(out)
            asked = tally.wanted if tally.episodes is None else None
            with new_writer(out, spec, envs, config, session, known_as, append=append, steps=asked) as writer:
                apart = folder.apart(shards_folder(out), Origin(spec, "env", session.seed, known_as), writer.collector)
                actor = _policy(policy, spec, session, ever + apart)[0] if apart else actor
                driver = Driver(envs, spec, actor, seed=session.seed, frames=pictures, offset=ever + apart)
                _fill(tally, driver, writer, session)
                if not tally.done:
                    raise session.stop.error(out, *tally.left(before, complete, session))
    return tally.result(out, spec, before)


def _make_room(out: Path) -> None:
    """Remove what is there, but not a finished file: that stays until the new one is complete and takes its place."""
    # Since the environment was begun to be made, someone may append, or put something else there.
    check_idle(shards_folder(out))
    check_shards(shards_folder(out))
    remove_output(shards_folder(out), SHARDS)


def _check(out: Path, session: Session) -> None:
    """Refuse to touch what is there unless the session says how.

    Raises:
        UsageError, OutputError: as `check_output` says; a folder that shall be emptied holds an .h5 file that is no shard.
    """
    if out.suffix == ".h5":
        check_file(out, session)
    else:
        check_directory(out, session, append=True)
    if session.existing == "overwrite":
        check_shards(shards_folder(out))


def plan(resolved: Resolved, out: Path, policy: Path | None, session: Session, frames: bool = False) -> Plan:
    """What `collect` would do; makes one environment to see its spaces. Nobody knows how large episodes and pictures will be."""
    config, env = resolved.experiment.collect, resolved.experiment.env
    _check(out, session)
    check_lanes(env)
    before, _ = _there(out, session)
    with environments(env, frames=False) as (_, envs, spec):
        known_as = _policy(policy, spec, session, before)[1]
    # A lane begins with a row that no action led to, and so does each episode; the shortest has one step.
    size = (2 * config.steps + envs.num_envs) * sum(field.row_bytes for field in step_fields(spec)) / 1e6
    disk = {} if frames or config.episodes else {"disk": f"rows of at most {math.ceil(10 * size) / 10:.1f} MB before compression"}
    budget = f"{config.episodes} episodes" if config.episodes else f"{config.steps} steps"
    return Plan(
        {
            "environment": f"{spec.name}, {envs.num_envs} at once",
            "observation": ", ".join(f"{name} {space}" for name, space in spec.observation.items()),
            "action": str(spec.action),
            "policy": known_as if isinstance(known_as, str) else f"{known_as['path']}, {known_as['updates']} updates",
            "budget": f"{budget}, {before} steps are there",
            **disk,
            "output": str(out),
        }
    )


def recover_rows(folder: Path, session: Session) -> None:
    """Seal what a crash left in a folder of shards, and tell it.

    Raises:
        OutputError: the disk does not take it.
    """
    for found in recover(folder):
        session.progress.note(str(found))


def new_writer(
    out: Path,
    spec: TaskSpec,
    envs: Environments,
    config: CollectConfig,
    session: Session,
    policy: str | Mapping[str, object],
    *,
    append: bool,
    steps: int | None = None,
    shard_rows: int | None = None,
) -> ReplayWriter:
    """The writer of what these lanes give; `steps` and `shard_rows` bound what it reserves, see there."""
    return ReplayWriter(
        out,
        spec,
        lanes=envs.num_envs,
        seed=session.seed,
        policy=policy,
        shard_mb=config.shard_mb,
        shard_rows=shard_rows,
        steps=steps,
        sync_seconds=config.sync_seconds,
        command=session.command,
        gym_spec=gym_spec(envs),
        append=append,
    )


@dataclass
class _Tally:
    """What is wanted, steps or complete episodes instead, and what was taken."""

    wanted: int
    episodes: int | None
    steps: int = 0
    returns: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.steps >= self.wanted if self.episodes is None else len(self.returns) >= self.episodes

    def left(self, before: int, complete: int, session: Session) -> tuple[str, str]:
        """How far it came, with what was there before, and the options that take the rest."""
        taken, wanted, what, there = self.steps, self.wanted, "step", before
        if self.episodes is not None:
            taken, wanted, what, there = len(self.returns), self.episodes, "episode", complete
        ways = f"--append --{what}s {wanted - taken}" if session.existing == "append" else "--resume"
        return f"{what} {there + taken} of {there + wanted}", ways

    def result(self, out: Path, spec: TaskSpec, before: int) -> CollectResult:
        mean = sum(self.returns) / len(self.returns) if self.returns else None
        return CollectResult(out, spec.name, self.steps, self.steps * spec.action_repeat, len(self.returns), mean, before + self.steps)


def _fill(tally: _Tally, driver: Driver, writer: ReplayWriter, session: Session) -> None:
    """Act until the budget is spent or someone asks to stop."""
    running = [0.0] * driver.envs.num_envs
    session.progress.start("collect", tally.wanted if tally.episodes is None else tally.episodes)
    while not tally.done and not session.stop.requested():
        for row in take(driver.step(), tally.wanted - tally.steps if tally.episodes is None else 10**9):
            writer.add(row)
            tally.steps += not row.is_first
            running[row.lane] = row.reward if row.is_first else running[row.lane] + row.reward
            if row.is_last:
                tally.returns.append(running[row.lane])
        session.progress.update(tally.steps if tally.episodes is None else len(tally.returns))


def _policy(path: Path | None, spec: TaskSpec, session: Session, offset: int) -> tuple[Policy, str | Mapping[str, object]]:
    """Who acts, and what it is called in the replay."""
    if path is None:
        from dreamctl.stages.policy import RandomPolicy

        return RandomPolicy(spec, session.seed + offset), "random"
    from dreamctl.core.provenance import file_hash
    from dreamctl.stages.agent import check_task
    from dreamctl.stages.policy import load_policy

    checkpoint = Checkpoint.load(path)
    check_task(checkpoint.spec, path, spec, "the environment")
    actor = load_policy(checkpoint, path, session, action="sample", seed=session.seed + offset)
    return actor, {"path": str(path), "sha256": file_hash(path), "updates": checkpoint.updates}


def _there(out: Path, session: Session) -> tuple[int, int]:
    """Environment steps and complete episodes that an appended or resumed replay holds already."""
    # Beside parts, a file that is none of them (those are dropped by now) is an older one that they will replace.
    there = (places(shards_folder(out)) or places(out))[:1] if session.existing in ("append", "resume") else []
    if not there:
        return 0, 0
    replay = open_replay(there)
    return replay.env_steps, sum(info.complete for info in replay.episodes())
