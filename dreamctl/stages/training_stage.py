"""What `train-wm` and `train-ac` share around the trainer: the loop over updates, metrics, checkpoints, stopping, the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import UsageError
from dreamctl.core.locks import sole_writer
from dreamctl.core.metrics import Metrics, metrics_path
from dreamctl.core.provenance import provenance
from dreamctl.core.session import Session
from dreamctl.replay.reader import Replay
from dreamctl.stages.agent import optimizer_of, weights_of
from dreamctl.stages.batches import snapshot
from dreamctl.stages.compute import Compute
from dreamctl.stages.experiment import Resolved, TrainACConfig, TrainWMConfig
from dreamctl.stages.learner import Learner
from dreamctl.stages.plan import Plan
from dreamctl.stages.resume import CheckpointFile
from dreamctl.stages.training import Trainer


@dataclass(frozen=True)
class TrainResult:
    """A finished training stage.

    Attributes:
        path: the checkpoint.
        updates: of this run.
        total_updates: with those behind the checkpoint that it began from.
        env_steps: environment steps in the replay.
        figures: the last line of metrics.
    """

    path: Path
    updates: int
    total_updates: int
    env_steps: int
    figures: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {**vars(self), "path": str(self.path)}

    def summary(self) -> str:
        """For a person."""
        losses = ", ".join(f"{name.removeprefix('loss/')} {value:.3g}" for name, value in self.figures.items() if name.startswith("loss"))
        return f"{self.path}: {self.updates} updates on {self.env_steps} environment steps; {losses}"


@dataclass(frozen=True)
class TrainingStage:
    """A trainer that is ready to go, and everything that its checkpoints record.

    Attributes:
        trainer: what learns, and from what.
        target: the checkpoint.
        budget: updates, and how often to log and to save.
        resolved: the experiment.
        replay: the whole of it, held-out episodes included.
        inputs: name -> content hash, of those beside the replay.
        session: how it is run.
        done: updates behind us, of an interrupted run.
        carried: optimizer state of parts that do not learn here.
        report: further figures for each line of metrics.
    """

    trainer: Trainer
    target: CheckpointFile
    budget: TrainWMConfig | TrainACConfig
    resolved: Resolved
    replay: Replay
    inputs: Mapping[str, str]
    session: Session
    done: int
    carried: Mapping[str, Any] = field(default_factory=dict)
    report: Callable[[], dict[str, float]] = dict

    def run(self) -> TrainResult:
        """The updates that are left, saving on the way and when asked to stop.

        Raises:
            UsageError: more updates are behind us than are wanted.
            OutputError: another process writes this checkpoint.
            StoppedEarly, Interrupted: state is saved.
            TrainingDiverged: the last checkpoint before is kept.
        """
        if self.done > self.budget.updates:
            raise UsageError(
                f"{self.target.out}: has {self.done} updates of this run behind it, wanted {self.budget.updates}; raise --updates"
            )
        with sole_writer(self.target.out):
            if self.target.replaces or self.budget.updates == 0:
                self.save(0)
            with Metrics(metrics_path(self.target.out), self.session.tensorboard, resume_at=self.done) as metrics:
                figures = self._updates(metrics)
        updates = self.budget.updates
        return TrainResult(self.target.out, updates, self.trainer.offset + updates, self.replay.env_steps, figures)

    def save(self, behind: int) -> Path:
        """Write the checkpoint after so many updates, stored latents before it; returns where it is."""
        learner, memory = self.trainer.learner, self.trainer.memory
        inputs = {"replay": self.replay.content_hash(), **self.inputs}
        if memory is not None:
            memory.save()
        checkpoint = Checkpoint(
            kind="world_model" if learner.actor_critic is None else "agent",
            updates=self.trainer.offset + behind,
            env_steps=self.replay.env_steps,
            config=self.resolved.plain,
            spec=self.replay.spec,
            weights=weights_of(learner.world_model, learner.actor_critic),
            optimizer={**self.carried, **optimizer_of(learner)},
            state={
                **{"done": behind, "seed": self.session.seed, "inputs": inputs},
                **{"behind": dict(self.trainer.sampler.behind), "snapshot": snapshot(self.replay)},
            },
            provenance=provenance(self.session, self.trainer.compute.to_json(), inputs),
        )
        return self.target.save(checkpoint, complete=behind == self.budget.updates)

    def _updates(self, metrics: Metrics) -> dict[str, float]:
        """Updates `done` to the last; returns the last figures."""
        figures: dict[str, float] = {}
        updates, stop = self.budget.updates, self.session.stop
        self.session.progress.start("train-wm" if self.trainer.learner.actor_critic is None else "train-ac", updates)
        for number in range(self.done, updates):
            self.trainer.update(number)
            behind, last = number + 1, number + 1 == updates
            leave = stop.requested() and not last
            due = leave or last or behind % self.budget.checkpoint_every == 0
            if due or behind % self.budget.log_every == 0:
                figures = self.trainer.figures() | self.report()
                metrics.write(updates=behind, **figures)
            self.session.progress.update(behind, loss=figures.get("loss", float("nan")))
            if due:
                saved = self.save(behind)
            if leave:
                raise stop.error(saved, f"update {behind} of {updates}")
        return figures


def training_plan(learner: Learner, replay: Replay, updates: int, out: Path, compute: Compute) -> Plan:
    """What training would do: data, parameters, memory and disk."""
    count = sum(parameter.numel() for parameter in learner.parameters)
    return Plan(
        {
            "replay": f"{replay.name}: {replay.env_steps} steps of {replay.spec.name}",
            "updates": str(updates),
            "parameters": f"{count:,} that learn",
            # Parameters, gradients and two moments in float32; activations come on top.
            "memory": f"{16 * count / 1e6:.0f} MB for parameters and optimizer",
            "disk": f"{12 * count / 1e6:.0f} MB a checkpoint",
            "device": f"{compute.device}, {compute.precision}, {compute.threads} threads",
            "output": str(out),
        }
    )
