"""`train-wm`: a world model from replays."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.session import Session
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.replay.windows.drawing import Drawn
from dreamctl.stages.agent import check_task, check_weights, load_optimizer, load_weights, new_world_model
from dreamctl.stages.batches import drawn, open_again
from dreamctl.stages.compute import planned, set_up
from dreamctl.stages.experiment import Experiment, Resolved
from dreamctl.stages.learner import Learner
from dreamctl.stages.plan import Plan
from dreamctl.stages.resume import CheckpointFile, take_up
from dreamctl.stages.training import Trainer, fit_scaling
from dreamctl.stages.training_stage import TrainingStage, TrainResult, training_plan
from dreamctl.stages.window_start import remembered

SECTIONS = ("replay", "world_model", "optimizer", "train_wm.holdout")


def train_wm(resolved: Resolved, replays: Sequence[Path], out: Path, init: Path | None, session: Session) -> TrainResult:
    """Train a world model and write its checkpoint.

    Args:
        resolved: the experiment; sections replay, world_model, optimizer and train_wm.
        replays: files or folders.
        out: the checkpoint.
        init: a checkpoint of either kind whose world model, normalisers and optimizer to start from.
        session: how it is run.

    Raises:
        UsageError, InputError, TrainingDiverged, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    target = CheckpointFile(out, session)
    before = target.unfinished("world_model", session)
    replay = open_again(replays, before, target.growing)
    if before is not None:
        resolved, session = take_up(before, target.growing, resolved, session, SECTIONS, {})
    config, compute = resolved.experiment.train_wm, set_up(session, resolved.experiment.world_model)
    kept, held = replay.split(config.holdout)
    learner = Learner(new_world_model(resolved.experiment, replay.spec, compute), None, resolved.experiment.optimizer, compute.autocast)
    start, start_path = target.start(before, init)
    if start is not None:
        check_task(start.spec, start_path, replay.spec, replay.name)
        load_weights(learner.world_model, start.weights["world_model"], start_path)
        load_optimizer(learner, start.optimizer, start_path)
    fit_scaling(learner.world_model, kept)
    done = before.state["done"] if before is not None else 0
    memory = remembered(resolved.experiment.replay, replay, learner.world_model, session, learner.steps("world_model"))
    offset = learner.steps("world_model") - done
    with drawn(replay, resolved.experiment.replay, session, compute, share=config.holdout, before=before) as batches:
        trainer = Trainer(learner, batches, replay.spec, compute, session.seed, offset=offset, memory=memory)
        report = _holdout(trainer, held, resolved.experiment, keep=session.follow)
        return TrainingStage(trainer, target, config, resolved, replay, {}, session, done, report=report).run()


def plan(resolved: Resolved, replays: Sequence[Path], out: Path, init: Path | None, session: Session) -> Plan:
    """What `train_wm` would do."""
    CheckpointFile.check(out, session)
    replay = open_replay(replays)
    experiment = resolved.experiment
    kept, held = replay.split(experiment.train_wm.holdout)
    WindowSampler(kept, experiment.replay, session.seed).check()
    compute = set_up(session, experiment.world_model)
    model = planned(lambda nowhere: new_world_model(experiment, replay.spec, nowhere), compute)
    learner = Learner(model, None, experiment.optimizer)
    if init is not None:
        start = Checkpoint.load(init)
        check_task(start.spec, init, replay.spec, replay.name)
        check_weights(learner.world_model, start.weights["world_model"], init)
    return training_plan(learner, replay, experiment.train_wm.updates, out, compute) + {"held out": f"{len(held.episodes())} episodes"}


def _holdout(trainer: Trainer, held: Replay, experiment: Experiment, *, keep: bool) -> Callable[[], dict[str, float]]:
    """Losses on the held-out episodes, in windows as long as the longest run of them allows; nothing where too few are held out.

    The same batches every time: where their rows may leave the replay, they are kept in memory.
    """
    rows = max((len(stream) for stream in held.streams), default=0) - experiment.replay.start.context
    if rows < 2 or experiment.train_wm.holdout_batches == 0:
        return dict
    config = replace(experiment.replay, batch_length=min(experiment.replay.batch_length, rows))
    sampler = WindowSampler(held, config, trainer.seed)
    sampler.go_on(None)  # none of them is new
    count = experiment.train_wm.holdout_batches
    batches = Drawn(sampler, count) if keep else sampler
    return lambda: trainer.holdout(batches, count)
