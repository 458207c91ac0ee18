"""The loop of `run`: act, learn what is due, evaluate now and then, keep the best and the last, stop when asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import Interrupted, StoppedEarly
from dreamctl.core.experience import Row, TaskSpec
from dreamctl.core.metrics import Metrics
from dreamctl.core.provenance import provenance
from dreamctl.core.session import Session
from dreamctl.envs.driver import Driver, Environments
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.retention import Retention
from dreamctl.stages.agent import check_task, load_optimizer, load_weights, new_actor_critic, new_world_model, optimizer_of, weights_of
from dreamctl.stages.compute import Compute, set_up
from dreamctl.stages.environments import take
from dreamctl.stages.experiment import Experiment, Resolved
from dreamctl.stages.learner import Learner
from dreamctl.stages.policy import DreamPolicy, RandomPolicy
from dreamctl.stages.train_ratio import TrainRatio
from dreamctl.stages.training import Trainer, fit_scaling
from dreamctl.stages.window_start import remembered


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


@dataclass
class Loop:
    """Everything that turns while a run runs.

    Attributes:
        score: mean return of a policy, by which the best checkpoint is chosen; raises when asked to stop.
        replay: in memory, what the folder held and every row since.
        retention: keeps it within its capacity.
    """

    resolved: Resolved
    folder: Folder
    session: Session
    spec: TaskSpec
    driver: Driver
    score: Callable[[DreamPolicy], float]
    replay: Replay
    retention: Retention
    trainer: Trainer
    ratio: TrainRatio
    counters: Counters
    metrics: Metrics
    provenance: Mapping[str, object]

    @classmethod
    def begin(
        cls,
        resolved: Resolved,
        folder: Folder,
        session: Session,
        before: Checkpoint | None,
        spec: TaskSpec,
        envs: Environments,
        score: Callable[[DreamPolicy], float],
        metrics: Metrics,
    ) -> "Loop":
        """Models and counters as they were left, or fresh ones, which are saved at once."""
        experiment, compute = resolved.experiment, set_up(session, resolved.experiment.world_model)
        learner = new_learner(experiment, spec, compute)
        retention = Retention.of(folder.replay, spec, envs.num_envs, experiment.replay.capacity)
        replay = retention.replay
        replay.cache(experiment.replay.cache_bytes)
        sampler, counters = WindowSampler(replay, experiment.replay, session.seed), Counters()
        if before is not None:
            check_task(before.spec, folder.agent, spec, "the environment")
            _restore(learner, before, folder.agent)
            counters = Counters(**before.state["counters"])
            sampler.go_on(before.state.get("behind"))
        counters.env_steps = retention.env_steps
        memory = remembered(experiment.replay, replay, learner.world_model, session, learner.steps("world_model"))
        loop = cls(
            resolved=resolved,
            folder=folder,
            session=session,
            spec=spec,
            driver=Driver(envs, spec, RandomPolicy(spec, session.seed + counters.env_steps), seed=session.seed, offset=counters.env_steps),
            score=score,
            replay=replay,
            retention=retention,
            trainer=Trainer(learner, sampler, spec, compute, session.seed, memory=memory),
            ratio=TrainRatio(experiment.run.train_ratio / experiment.replay.replayed, counters.ratio_reached),
            counters=counters,
            metrics=metrics,
            provenance=provenance(session, compute.to_json(), {}),
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
        self.replay.written_by(writer.collector, self.folder.replay)
        self.retention.begin(writer)
        self.retention.look(writer)
        self.learn()
        while counters.env_steps < config.steps:
            self.stop_if_asked(writer)
            if counters.env_steps >= config.prefill and isinstance(self.driver.policy, RandomPolicy):
                self.driver.policy = self.policy(counters.env_steps)
            for row in take(self.driver.step(), config.steps - counters.env_steps):
                writer.add(row)
                self.replay.add(row)
                self.remember(row)
                counters.env_steps += not row.is_first
            self.retention.look(writer)
            self.learn()
            self.session.progress.update(counters.env_steps, updates=counters.updates)
            if counters.env_steps >= counters.evaluated + config.eval_every:
                self.judge()
        if counters.evaluated < counters.env_steps:
            self.judge()
        self.stop_if_asked(writer)
        self.save_last()

    def learn(self) -> None:
        """Every update that is due, once the random steps are behind us and a window fits."""
        config, counters = self.resolved.experiment.run, self.counters
        longest = max(map(len, self.replay.streams), default=0)
        if counters.env_steps < config.prefill or longest < self.resolved.experiment.replay.window:
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
        counters = self.counters
        if counters.updates == 0:
            return
        figures = self.trainer.figures()
        try:
            score = self.score(self.policy(0))
        except (StoppedEarly, Interrupted):
            return
        counters.evaluated = counters.env_steps
        self.metrics.write(updates=counters.updates, env_steps=counters.env_steps, **figures, **{"eval/return_mean": score})
        self.session.progress.note(f"step {counters.env_steps}: evaluation {score:.1f}")
        if counters.best_score is None or score >= counters.best_score:
            counters.best_score, counters.best_step = score, counters.env_steps
            self.save(self.folder.best)
        self.save_last()

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
            self.save_last()
            steps = self.resolved.experiment.run.steps
            raise self.session.stop.error(self.folder.path, f"step {self.counters.env_steps} of {steps}")

    def remember(self, row: Row) -> None:
        """Store the state in which the agent acted on the row that was added last, where windows begin with stored states."""
        memory, policy = self.trainer.memory, self.driver.policy
        if memory is not None and isinstance(policy, DreamPolicy) and policy.state is not None:
            memory.keep_acting(self.replay, row, policy.state, self.counters.updates)

    def save_last(self) -> None:
        """Write the state from which `--resume` goes on, stored latents before it."""
        if self.trainer.memory is not None:
            self.trainer.memory.save()
        self.save(self.folder.agent)

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
            state={"counters": vars(counters).copy(), "seed": self.session.seed, "behind": dict(self.trainer.sampler.behind)},
            provenance=self.provenance,
        ).save(path)


def new_learner(experiment: Experiment, spec: TaskSpec, compute: Compute) -> Learner:
    """Everything fresh, with one optimizer over all of it."""
    world_model = new_world_model(experiment, spec, compute)
    return Learner(world_model, new_actor_critic(experiment, world_model, spec, compute), experiment.optimizer, compute.autocast)


def _restore(learner: Learner, before: Checkpoint, path: Path) -> None:
    assert learner.actor_critic is not None
    load_weights(learner.world_model, before.weights["world_model"], path)
    load_weights(learner.actor_critic, before.weights["actor_critic"], path)
    load_optimizer(learner, before.optimizer, path)
