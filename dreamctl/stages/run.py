"""`run`: the whole Dreamer loop in one process: collect a little, update everything on the same batches, again."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError, Interrupted, StoppedEarly, UsageError
from dreamctl.core.files import write_json, write_text
from dreamctl.core.locks import sole_writer
from dreamctl.core.metrics import Metrics
from dreamctl.core.session import Session
from dreamctl.replay.folder import SHARDS, check_idle
from dreamctl.replay.reader import Replay
from dreamctl.replay.writing.retention import Retention
from dreamctl.stages.collect import new_writer, recover_rows
from dreamctl.stages.compute import planned, set_up
from dreamctl.stages.environments import check_lanes, environments
from dreamctl.stages.evaluate import EvalResult, choice_seeds, evaluate, play, scores
from dreamctl.stages.experiment import SECTIONS, Experiment, Resolved, RunConfig, check_same_section, gone_on, recorded
from dreamctl.stages.imagine import imagine
from dreamctl.stages.interleave import Counters, Folder, Loop, new_learner
from dreamctl.stages.output import check_directory, remove_output
from dreamctl.stages.plan import Plan
from dreamctl.stages.policy import DreamPolicy
from dreamctl.stages.render import render
from dreamctl.stages.replacing import check_folder, check_shards
from dreamctl.stages.resume import as_before
from dreamctl.stages.training_stage import training_plan

NAMES = ("agent.ckpt", "agent-best.ckpt", "metrics.jsonl", "config.yaml", "eval.json", "dreams.h5", "dreams.gif")
FILES = ("replay", *NAMES, *(f".{name}.tmp" for name in NAMES))
# What every run has from its beginning on.
MARKS = ("config.yaml", "metrics.jsonl")
FIXED = ("env", "replay", "world_model", "actor_critic", "optimizer")


@dataclass(frozen=True)
class RunResult:
    """A finished run; the score is the best checkpoint's, on fresh seeds."""

    path: Path
    env_steps: int
    updates: int
    best_step: int
    evaluation: EvalResult
    gif: Path

    def to_json(self) -> dict[str, object]:
        """As one object."""
        score = {key: value for key, value in self.evaluation.to_json().items() if key not in ("path", "env_steps")}
        counters = {"env_steps": self.env_steps, "updates": self.updates, "best_step": self.best_step}
        return {"path": str(self.path), **counters, **score, "gif": str(self.gif)}

    def summary(self) -> str:
        """For a person."""
        taken = f"{self.env_steps} environment steps, {self.updates} updates; best at step {self.best_step}"
        return f"{self.path}: {taken}\n{self.evaluation.summary()}\ndreams: {self.gif}"


def run(resolved: Resolved, out: Path, session: Session) -> RunResult:
    """Learn an environment from nothing, then evaluate the best agent, dream with it and render the dreams.

    Args:
        resolved: the experiment.
        out: the run's folder.
        session: how it is run; `resume` goes on from what is in the folder.

    Raises:
        UsageError, InputError, EnvironmentFailure, TrainingDiverged, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    _check(out, session)
    with sole_writer(out):
        return _run(resolved, Folder(out), session)


def _run(resolved: Resolved, folder: Folder, session: Session) -> RunResult:
    """What is left to do in the run's folder."""
    before = Checkpoint.load(folder.agent) if session.existing == "resume" and os.path.exists(folder.agent) else None
    if before is not None:
        resolved, session = _take_up(before, folder, resolved, session)
    experiment = resolved.experiment
    _check_numbers(experiment)
    seeds = choice_seeds(session.seed, experiment.run.eval_episodes)
    quiet = replace(session, progress=_Quiet(session.progress))
    with (
        environments(experiment.env, frames=False) as (_, envs, spec),
        environments(experiment.env, frames=False, lanes=min(len(seeds), experiment.eval.lanes)) as (_, judges, _),
        _opened(folder, resolved, session, before) as metrics,
    ):

        def score(policy: DreamPolicy) -> float:
            return scores(spec, play(judges, spec, policy, seeds, quiet)).return_mean

        recover_rows(folder.replay, session)
        loop = Loop.begin(resolved, folder, session, before, spec, envs, score, metrics)
        resumed, left = session.existing == "resume", max(1, experiment.run.steps - loop.counters.env_steps)
        rows = Retention.shard_rows(experiment.replay.capacity, envs.num_envs)
        with new_writer(
            folder.replay, spec, envs, experiment.collect, session, "agent of this run", append=resumed, steps=left, shard_rows=rows
        ) as writer:
            loop.go(writer)
    try:
        return _finish(resolved, folder, session, loop.counters)
    except (StoppedEarly, Interrupted) as error:
        raise session.stop.error(folder.path, "its end, the last evaluation, dreams and film") from error


def _check(out: Path, session: Session) -> None:
    """Refuse to touch what is there unless the session says how, and to remove what no run wrote.

    Raises:
        UsageError, OutputError: as `check_directory` says; what shall be replaced is no run, or its replay holds something else.
    """
    check_directory(out, session)
    ours = sorted(entry.name for pattern in FILES for entry in out.glob(pattern))
    if session.existing == "overwrite" and ours:
        if not all(os.path.isfile(out / name) for name in MARKS):
            raise UsageError(f"{out}: is no run, and holds {ours[0]}, which would be lost; choose another --out")
        check_folder(out / "replay", session, SHARDS)
        check_shards(out / "replay")


def _check_numbers(experiment: Experiment) -> None:
    """Refuse what cannot be run.

    Raises:
        UsageError: too few steps, too many lanes, or too little capacity for them.
    """
    _check_steps(experiment.run)
    _check_capacity(experiment)
    check_lanes(experiment.env)


def _check_steps(config: RunConfig) -> None:
    """Refuse a run that ends before its first update.

    Raises:
        UsageError: all steps are random ones.
    """
    if config.steps <= config.prefill:
        raise UsageError(f"run.prefill: {config.prefill} random steps leave none of run.steps={config.steps} to learn in; raise --steps")


def _check_capacity(experiment: Experiment) -> None:
    """Refuse a capacity in which windows of each lane would hardly fit.

    Raises:
        UsageError: it is too small.
    """
    capacity, lanes, window = experiment.replay.capacity, experiment.env.num_envs, experiment.replay.window
    if capacity is not None and capacity < 2 * lanes * window:
        lane = "a lane" if lanes == 1 else f"each of {lanes} lanes"
        raise UsageError(f"replay.capacity: is {capacity}, wanted at least {2 * lanes * window}: two windows of {window} rows in {lane}")


def _opened(folder: Folder, resolved: Resolved, session: Session, before: Checkpoint | None) -> Metrics:
    """The folder with its config and metrics, made only when the environment is known to work: a typing error costs no older run."""
    if session.existing == "overwrite":
        check_idle(folder.replay)
        remove_output(folder.path, FILES)
    write_text(folder.path / "config.yaml", yaml.safe_dump(resolved.plain, sort_keys=False))
    return Metrics(folder.path / "metrics.jsonl", session.tensorboard, resume_at=before.updates if before else 0)


def plan(resolved: Resolved, out: Path, session: Session) -> Plan:
    """What `run` would do; makes one environment to see its spaces."""
    _check(out, session)
    experiment, compute = resolved.experiment, set_up(session, resolved.experiment.world_model)
    with environments(experiment.env, frames=False, lanes=1) as (_, _, spec):
        learner = planned(lambda nowhere: new_learner(experiment, spec, nowhere), compute)
    config = experiment.run
    _check_numbers(experiment)
    updates = int(max(0, config.steps - config.prefill) * (config.train_ratio / experiment.replay.replayed)) + 1
    items = {
        "environment": f"{spec.name}, {experiment.env.num_envs} at once",
        "steps": f"{config.steps}, {config.prefill} of them random",
        "evaluations": f"every {config.eval_every} steps, {config.eval_episodes} episodes",
    }
    learned = training_plan(learner, Replay.empty(spec, experiment.env.num_envs), updates, out, compute).items
    return Plan({**items, **{label: text for label, text in learned.items() if label != "replay"}})


def _take_up(before: Checkpoint, folder: Folder, given: Resolved, session: Session) -> tuple[Resolved, Session]:
    """The experiment and the seed of the interrupted run; its budget and what comes after it may be given anew."""
    if "counters" not in before.state:
        raise InputError(f"{folder.agent}: was not written by `run`; give the folder of a run, or another --out")
    kept = recorded(before.config, folder.agent)
    for section in FIXED:
        check_same_section(section, given, kept, str(folder.agent))
    free = [section for section in SECTIONS if section not in FIXED]
    return gone_on(before.config, given, free), as_before(session, before)


def _finish(resolved: Resolved, folder: Folder, session: Session, counters: Counters) -> RunResult:
    """Score the best agent on fresh seeds, dream beside what really happened, and draw it."""
    best = folder.best if folder.best.exists() else folder.agent
    again = replace(session, existing="overwrite")
    evaluation = evaluate(resolved, best, None, again)
    write_json(folder.path / "eval.json", evaluation.to_json())
    actions = resolved.experiment.imagine.actions
    # A run has the truth at hand: unless told otherwise, its dreams follow the actions that were really taken.
    config = replace(resolved.experiment.imagine, actions="recorded" if actions == "auto" else actions)
    dreaming = Resolved(replace(resolved.experiment, imagine=config), resolved.merged)
    imagine(dreaming, best, [folder.replay], folder.path / "dreams.h5", again)
    gif = folder.path / "dreams.gif"
    render(resolved, [folder.path / "dreams.h5"], gif, again)
    return RunResult(folder.path, counters.env_steps, counters.updates, counters.best_step, evaluation, gif)


class _Quiet:
    """Progress of an evaluation inside a run: the run's own bar stays."""

    def __init__(self, outer: Any) -> None:
        self.note = outer.note

    def start(self, label: str, total: int) -> None: ...

    def update(self, done: int, **figures: float) -> None: ...
