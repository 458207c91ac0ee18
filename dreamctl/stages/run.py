"""`run`: the whole Dreamer loop in one process: collect a little, update everything on the same batches, again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError, Interrupted, StoppedEarly
from dreamctl.core.experience import TaskSpec
from dreamctl.core.files import write_json, write_text
from dreamctl.core.metrics import Metrics
from dreamctl.core.provenance import provenance
from dreamctl.core.session import Session
from dreamctl.envs.driver import Driver, Environments
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages.agent import check_task, load_optimizer, load_weights, new_actor_critic, new_world_model, optimizer_of, weights_of
from dreamctl.stages.collect import new_writer, take
from dreamctl.stages.compute import Compute, set_up
from dreamctl.stages.environments import environments
from dreamctl.stages.evaluate import EvalResult, choice_seeds, evaluate, play, scores
from dreamctl.stages.experiment import SECTIONS, Experiment, Resolved, check_same_section, gone_on, recorded
from dreamctl.stages.imagine import imagine
from dreamctl.stages.learner import Learner
from dreamctl.stages.output import check_output, remove_output
from dreamctl.stages.plan import Plan
from dreamctl.stages.policy import DreamPolicy, RandomPolicy
from dreamctl.stages.render import checked, render
from dreamctl.stages.train_ratio import TrainRatio
from dreamctl.stages.training import Trainer, fit_scaling
from dreamctl.stages.training_stage import training_plan

FILES = ("replay", "agent*.ckpt", "metrics.jsonl", "config.yaml", "eval.json", "dreams.h5", "dreams.gif", ".*.tmp")
FIXED = ("env", "replay", "world_model", "actor_critic", "optimizer")


@dataclass(frozen=True)
class Folder:
    """What a run's folder holds."""

    path: Path

    @property
    def replay(self) -> Path:
        """Everything that happened."""
        return self.path / "replay"

    @property
    def agent(self) -> Path:
        """The last state, from which `--resume` goes on."""
        return self.path / "agent.ckpt"

    @property
    def best(self) -> Path:
        """The state with the best evaluation."""
        return self.path / "agent-best.ckpt"


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


@dataclass
class Counters:
    """Where a run is; saved with every checkpoint.

    Attributes:
        env_steps: actions taken; after a kill, those of the sealed rows.
        updates: gradient updates.
        owed: updates that are due and not done yet.
        ratio_reached: environment step up to which updates were counted as due.
        evaluated: environment step of the last evaluation.
        best_score, best_step: of the best checkpoint.
    """

    env_steps: int = 0
    updates: int = 0
    owed: int = 0
    ratio_reached: float | None = None
    evaluated: int = 0
    best_score: float | None = None
    best_step: int = 0


def run(resolved: Resolved, out: Path, session: Session) -> RunResult:
    """Learn an environment from nothing, then evaluate the best agent, dream with it and render the dreams.

    Args:
        resolved: the experiment.
        out: the run's folder.
        session: how it is run; `resume` goes on from what is in the folder.

    Raises:
        UsageError, InputError, EnvironmentFailure, TrainingDiverged, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    check_output(out, session)
    checked(resolved.experiment.render)  # rather now than when all is learned
    folder = Folder(out)
    if session.existing == "overwrite":
        remove_output(out, FILES)
    before = Checkpoint.load(folder.agent) if folder.agent.exists() else None
    if before is not None:
        resolved, session = _take_up(before, folder, resolved, session)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "config.yaml", yaml.safe_dump(resolved.plain, sort_keys=False))
    experiment = resolved.experiment
    lanes = min(experiment.run.eval_episodes, experiment.eval.lanes)
    with (
        environments(experiment.env, frames=False) as (_, envs, spec),
        environments(experiment.env, frames=False, lanes=lanes) as (_, judges, _),
        Metrics(out / "metrics.jsonl", session.tensorboard, resume_at=before.updates if before else 0) as metrics,
    ):
        loop = _Loop.begin(resolved, folder, session, before, spec, envs, judges, metrics)
        with new_writer(
            folder.replay, spec, envs, experiment.collect, session, "agent of this run", append=loop.counters.env_steps > 0
        ) as writer:
            loop.go(writer)
    return _finish(resolved, folder, session, loop.counters)


def plan(resolved: Resolved, out: Path, session: Session) -> Plan:
    """What `run` would do; makes one environment to see its spaces."""
    check_output(out, session)
    checked(resolved.experiment.render)
    experiment, compute = resolved.experiment, set_up(session, resolved.experiment.world_model)
    with environments(experiment.env, frames=False, lanes=1) as (_, _, spec):
        learner = _new_learner(experiment, spec, compute)
    config = experiment.run
    ratio = config.train_ratio / (experiment.replay.batch_size * experiment.replay.batch_length)
    updates = int(max(0, config.steps - config.prefill) * ratio) + 1
    items = {
        "environment": f"{spec.name}, {experiment.env.num_envs} at once",
        "steps": f"{config.steps}, {config.prefill} of them random",
        "evaluations": f"every {config.eval_every} steps, {config.eval_episodes} episodes",
    }
    learned = training_plan(learner, Replay.empty(spec, experiment.env.num_envs), updates, out, compute).items
    return Plan({**items, **{label: text for label, text in learned.items() if label != "replay"}})


@dataclass
class _Loop:
    """Everything that turns while a run runs."""

    resolved: Resolved
    folder: Folder
    session: Session
    spec: TaskSpec
    driver: Driver
    judges: Environments
    replay: Replay
    trainer: Trainer
    ratio: TrainRatio
    counters: Counters
    metrics: Metrics
    provenance: Mapping[str, object]
    _base: int = 0

    @classmethod
    def begin(
        cls,
        resolved: Resolved,
        folder: Folder,
        session: Session,
        before: Checkpoint | None,
        spec: TaskSpec,
        envs: Environments,
        judges: Environments,
        metrics: Metrics,
    ) -> "_Loop":
        """Models and counters as they were left, or fresh ones, which are saved at once."""
        experiment, compute = resolved.experiment, set_up(session, resolved.experiment.world_model)
        learner = _new_learner(experiment, spec, compute)
        counters = Counters()
        if before is not None:
            check_task(before.spec, folder.agent, spec, "the environment")
            _restore(learner, before, folder.agent)
            counters = Counters(**before.state["counters"])
        sealed = any(folder.replay.glob("*.h5"))
        replay = open_replay([folder.replay]) if sealed else Replay.empty(spec, envs.num_envs)
        counters.env_steps = replay.env_steps
        sampler = WindowSampler(replay, experiment.replay, session.seed)
        size = experiment.replay.batch_size * experiment.replay.batch_length
        loop = cls(
            resolved=resolved,
            folder=folder,
            session=session,
            spec=spec,
            driver=Driver(envs, spec, RandomPolicy(spec, session.seed + replay.env_steps), seed=session.seed, offset=replay.env_steps),
            judges=judges,
            replay=replay,
            trainer=Trainer(learner, sampler, spec, compute, session.seed),
            ratio=TrainRatio(experiment.run.train_ratio / size, counters.ratio_reached),
            counters=counters,
            metrics=metrics,
            provenance=provenance(session, compute.to_json(), {}),
            _base=replay.env_steps,
        )
        if before is None:
            loop.save(folder.agent)
        return loop

    def go(self, writer: ReplayWriter) -> None:
        """Until the budget is spent.

        Raises:
            StoppedEarly, Interrupted: rows are sealed and state is saved.
        """
        config, counters = self.resolved.experiment.run, self.counters
        self.session.progress.start("run", config.steps)
        self.learn()
        while counters.env_steps < config.steps:
            self.stop_if_asked(writer)
            if counters.env_steps >= config.prefill and isinstance(self.driver.policy, RandomPolicy):
                self.driver.policy = self.policy(counters.env_steps)
            for row in take(self.driver.step(), config.steps - counters.env_steps):
                writer.add(row)
                self.replay.add(row)
                counters.env_steps += not row.is_first
            self.learn()
            self.session.progress.update(counters.env_steps, updates=counters.updates)
            if counters.env_steps >= counters.evaluated + config.eval_every:
                self.judge()
        if counters.evaluated < counters.env_steps:
            self.judge()
        self.stop_if_asked(writer)
        self.save(self.folder.agent)

    def learn(self) -> None:
        """Every update that is due, once the random steps are behind us and a window fits."""
        config, counters = self.resolved.experiment.run, self.counters
        longest = max(map(len, self.replay.streams), default=0)
        if counters.env_steps < config.prefill or longest < self.resolved.experiment.replay.batch_length:
            return
        if self.ratio.reached is None:
            # Counted from where the random steps end, also when a kill let more rows than that be there.
            fit_scaling(self.trainer.learner.world_model, self.replay)
            counters.owed += self.ratio(min(counters.env_steps, config.prefill))
        counters.owed += self.ratio(counters.env_steps)
        counters.ratio_reached = self.ratio.reached
        while counters.owed > 0 and not self.session.stop.requested():
            self.trainer.update(counters.updates)
            counters.updates += 1
            counters.owed -= 1
            if counters.updates % config.log_every == 0:
                self.metrics.write(updates=counters.updates, env_steps=counters.env_steps, **self.trainer.figures())

    def judge(self) -> None:
        """Evaluate on the seeds that choose, keep the best, save the last; asked to stop, leave it to `--resume`."""
        counters, config = self.counters, self.resolved.experiment.run
        if counters.updates == 0:
            return
        figures = self.trainer.figures()
        seeds = choice_seeds(self.session.seed, config.eval_episodes)
        quiet = replace(self.session, progress=_Quiet(self.session.progress))
        try:
            score = scores(self.spec, play(self.judges, self.spec, self.policy(0), seeds, quiet)).return_mean
        except (StoppedEarly, Interrupted):
            return
        counters.evaluated = counters.env_steps
        self.metrics.write(updates=counters.updates, env_steps=counters.env_steps, **figures, **{"eval/return_mean": score})
        self.session.progress.note(f"step {counters.env_steps}: evaluation {score:.1f}")
        if counters.best_score is None or score >= counters.best_score:
            counters.best_score, counters.best_step = score, counters.env_steps
            self.save(self.folder.best)
        self.save(self.folder.agent)

    def policy(self, position: int) -> DreamPolicy:
        """The agent as it is, remembering nothing; its noise depends on the position only."""
        learner = self.trainer.learner
        assert learner.actor_critic is not None
        return DreamPolicy(
            learner.world_model, learner.actor_critic, self.spec, self.trainer.compute, seed=self.session.seed * 1_000_003 + position
        )

    def stop_if_asked(self, writer: ReplayWriter) -> None:
        """Seal, save and leave."""
        if self.session.stop.requested():
            writer.pause()
            self.trainer.figures()  # fails before a state that is worth nothing replaces a good one
            self.save(self.folder.agent)
            steps = self.resolved.experiment.run.steps
            raise self.session.stop.error(self.folder.path, f"step {self.counters.env_steps} of {steps}")

    def save(self, path: Path) -> None:
        """Write everything as an agent checkpoint."""
        learner, counters = self.trainer.learner, self.counters
        Checkpoint(
            kind="agent",
            updates=counters.updates,
            env_steps=counters.env_steps,
            config=self.resolved.plain,
            spec=self.spec,
            weights=weights_of(learner.world_model, learner.actor_critic),
            optimizer=optimizer_of(learner),
            state={"counters": vars(counters).copy(), "seed": self.session.seed},
            provenance=self.provenance,
        ).save(path)


def _new_learner(experiment: Experiment, spec: TaskSpec, compute: Compute) -> Learner:
    world_model = new_world_model(experiment, spec, compute)
    return Learner(world_model, new_actor_critic(experiment, world_model, spec, compute), experiment.optimizer)


def _restore(learner: Learner, before: Checkpoint, path: Path) -> None:
    assert learner.actor_critic is not None
    load_weights(learner.world_model, before.weights["world_model"], path)
    load_weights(learner.actor_critic, before.weights["actor_critic"], path)
    load_optimizer(learner, before.optimizer, path)


def _take_up(before: Checkpoint, folder: Folder, given: Resolved, session: Session) -> tuple[Resolved, Session]:
    """The experiment and the seed of the interrupted run; its budget and what comes after it may be given anew."""
    if "counters" not in before.state:
        raise InputError(f"{folder.agent}: was not written by `run`; give the folder of a run, or another --out")
    kept = recorded(before.config)
    for section in FIXED:
        check_same_section(section, given, kept, str(folder.agent))
    free = [section for section in SECTIONS if section not in FIXED]
    return gone_on(before.config, given, free), replace(session, seed=before.state["seed"])


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
