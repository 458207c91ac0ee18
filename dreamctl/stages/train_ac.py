"""`train-ac`: an actor and a critic in the dreams of a frozen world model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.provenance import file_hash
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.stages.agent import (
    check_task,
    load_optimizer,
    load_weights,
    load_world_model,
    new_actor_critic,
    part_of,
)
from dreamctl.stages.batches import drawn, open_again
from dreamctl.stages.compute import Compute, as_made, set_up
from dreamctl.stages.experiment import Resolved, check_same_section, recorded
from dreamctl.stages.learner import Learner
from dreamctl.stages.plan import Plan
from dreamctl.stages.resume import CheckpointFile, take_up
from dreamctl.stages.training import Trainer
from dreamctl.stages.training_stage import TrainingStage, TrainResult, training_plan
from dreamctl.stages.window_start import remembered

SECTIONS = ("replay", "actor_critic", "optimizer")


@dataclass(frozen=True)
class FrozenModel:
    """A checkpoint whose world model is dreamt in and not changed."""

    checkpoint: Checkpoint
    path: Path

    @property
    def updates(self) -> int:
        """Updates that the world model has had."""
        state: Mapping[str, int] = self.checkpoint.optimizer.get("world_model", {})
        return state.get("step", self.checkpoint.updates)

    def settle(self, resolved: Resolved) -> Resolved:
        """The experiment with this world model's own config.

        Raises:
            UsageError: an explicit option of section world_model contradicts it.
        """
        kept = recorded(self.checkpoint.config, self.path)
        check_same_section("world_model", resolved, kept, str(self.path))
        return Resolved(replace(resolved.experiment, world_model=kept.experiment.world_model), resolved.merged)

    def learner(self, resolved: Resolved, compute: Compute) -> Learner:
        """A fresh actor and critic on it."""
        world_model = load_world_model(self.checkpoint, self.path, compute).requires_grad_(False)
        actor_critic = new_actor_critic(resolved.experiment, world_model, self.checkpoint.spec, compute)
        return Learner(world_model, actor_critic, resolved.experiment.optimizer, compute.autocast)


def train_ac(resolved: Resolved, world_model: Path, replays: Sequence[Path], out: Path, init: Path | None, session: Session) -> TrainResult:
    """Train an actor and a critic and write them, with their world model, as an agent checkpoint.

    Args:
        resolved: the experiment; sections replay, actor_critic, optimizer and train_ac.
        world_model: a checkpoint of either kind.
        replays: files or folders, for the start states and the replay value loss.
        out: the checkpoint.
        init: an agent whose actor, critic, slow critic, normaliser and optimizer to start from.
        session: how it is run.

    Raises:
        UsageError, InputError, TrainingDiverged, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    target = CheckpointFile(out, session)
    frozen = FrozenModel(Checkpoint.load(world_model), world_model)
    before = target.unfinished("agent", session)
    replay = open_again(replays, before, target.growing)
    check_task(replay.spec, replays[0], frozen.checkpoint.spec, world_model)
    inputs = {"world model": file_hash(world_model)}
    if before is not None:
        resolved, session = take_up(before, target.growing, resolved, session, SECTIONS, inputs)
    resolved = frozen.settle(resolved)
    precise = as_made(session, frozen.checkpoint.provenance)
    config, compute = resolved.experiment.train_ac, set_up(precise, resolved.experiment.world_model)
    learner = frozen.learner(resolved, compute)
    assert learner.actor_critic is not None
    start, start_path = target.start(before, init)
    if start is not None:
        check_task(start.spec, start_path, replay.spec, replay.name)
        load_weights(learner.actor_critic, part_of(start, "actor_critic", start_path), start_path)
        load_optimizer(learner, start.optimizer, start_path)
    done = before.state["done"] if before is not None else 0
    memory = remembered(resolved.experiment.replay, replay, learner.world_model, session, frozen.updates, keeps=False)
    offset = learner.steps("actor") - done
    with drawn(replay, resolved.experiment.replay, session, compute, before=before) as batches:
        trainer = Trainer(learner, batches, replay.spec, compute, session.seed, offset=offset, memory=memory)
        # The world model's own optimizer travels along, so that `train-wm --init` of this agent goes on without a second warm-up.
        return TrainingStage(trainer, target, config, resolved, replay, inputs, session, done, carried=frozen.checkpoint.optimizer).run()


def plan(resolved: Resolved, world_model: Path, replays: Sequence[Path], out: Path, init: Path | None, session: Session) -> Plan:
    """What `train_ac` would do."""
    CheckpointFile.check(out, session)
    frozen = FrozenModel(Checkpoint.load(world_model), world_model)
    replay = open_replay(replays)
    check_task(replay.spec, replays[0], frozen.checkpoint.spec, world_model)
    resolved = frozen.settle(resolved)
    compute = set_up(as_made(session, frozen.checkpoint.provenance), resolved.experiment.world_model)
    WindowSampler(replay, resolved.experiment.replay, session.seed).check()
    learner = frozen.learner(resolved, compute)
    if init is not None:
        assert learner.actor_critic is not None
        load_weights(learner.actor_critic, part_of(Checkpoint.load(init), "actor_critic", init), init)
    return training_plan(learner, replay, resolved.experiment.train_ac.updates, out, compute) + {"world model": str(world_model)}
