"""`imagine`: dreams that begin where something real happened, written like a replay."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.provenance import file_hash
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import write_episodes
from dreamctl.stages.agent import check_task
from dreamctl.stages.dreaming import Dreamer, actions_kind, choose_starts, dream_episodes
from dreamctl.stages.experiment import Resolved
from dreamctl.stages.output import check_file
from dreamctl.stages.plan import Plan


@dataclass(frozen=True)
class ImagineResult:
    """Dreams that were written; `steps` are imagined ones, context left out."""

    path: Path
    episodes: int
    steps: int
    horizon: int
    actions: str
    ended: int

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {**vars(self), "path": str(self.path)}

    def summary(self) -> str:
        """For a person."""
        return f"{self.path}: {self.episodes} dreams, {self.steps} imagined steps, {self.actions} actions; {self.ended} ended by themselves"


def imagine(resolved: Resolved, model: Path, replays: Sequence[Path], out: Path, session: Session) -> ImagineResult:
    """Dream from real starts and write the dreams, with the truth beside them where there is one.

    Args:
        resolved: the experiment; section imagine.
        model: a checkpoint of either kind.
        replays: files or folders, for the starts.
        out: NAME.h5.
        session: how it is run; `resume` begins again, and gives the same rows.

    Raises:
        UsageError, InputError, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    check_file(out, session)
    checkpoint = Checkpoint.load(model)
    dreamer = Dreamer.load(checkpoint, model, session)
    replay = open_replay(replays)
    check_task(replay.spec, replays[0], checkpoint.spec, model)
    config = resolved.experiment.imagine
    kind = actions_kind(config, dreamer)
    starts = choose_starts(replay, config, kind, session.seed)
    dreams = dream_episodes(dreamer, starts, config, kind, session)
    parent = {"model": str(model), "sha256": file_hash(model), "replay": replay.content_hash(), "horizon": config.horizon, "actions": kind}
    write_episodes(out, replay.spec, dreams, kind="imagined", parent=parent, seed=session.seed, policy=kind, command=session.command)
    imagined = sum(len(dream) - dream.context for dream in dreams)
    return ImagineResult(out, len(dreams), imagined, config.horizon, kind, sum(bool(dream.terminated[-1]) for dream in dreams))


def plan(resolved: Resolved, model: Path, replays: Sequence[Path], out: Path, session: Session) -> Plan:
    """What `imagine` would do."""
    check_file(out, session)
    checkpoint = Checkpoint.load(model)
    dreamer = Dreamer.load(checkpoint, model, session)
    replay = open_replay(replays)
    check_task(replay.spec, replays[0], checkpoint.spec, model)
    config = resolved.experiment.imagine
    kind = actions_kind(config, dreamer)
    starts = choose_starts(replay, config, kind, session.seed)
    return Plan(
        {
            "model": f"{model}: {checkpoint.kind}, {checkpoint.updates} updates",
            "dreams": f"{len(starts)} of {config.horizon} steps after {config.context} observed rows",
            "actions": kind,
            "output": str(out),
        }
    )
