"""The learner with its data, as `train-wm`, `train-ac` and `run` share it: batches, noise, figures."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dreamctl.core.codec import ActionCodec, observation_codec
from dreamctl.core.errors import TrainingDiverged
from dreamctl.core.experience import TaskSpec, Windows
from dreamctl.core.tensors import Batch
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.stages.compute import Compute, generator
from dreamctl.stages.encoding import encoded
from dreamctl.stages.learner import Learner
from dreamctl.world_model.model import WorldModel

HOLDOUT_NOISE = 1


@dataclass
class Trainer:
    """A learner with its data: every update is a pure function of the seed, its number and what the replay then holds.

    Attributes:
        offset: updates behind the checkpoint that the learner began from; numbers go on from there, so that no batch is drawn twice.
    """

    learner: Learner
    sampler: WindowSampler
    spec: TaskSpec
    compute: Compute
    seed: int
    offset: int = 0
    _pending: list[dict[str, Tensor]] = field(default_factory=list)

    def update(self, number: int) -> None:
        """Gradient update `number` of this run, counted from 0."""
        number += self.offset
        windows = self.sampler.sample(number)
        batch = to_batch(windows, self.spec, self.compute.device)
        size, length = batch.reward.shape
        noise = self.learner.noise(size, length, generator(self.compute, self.seed, 0, number))
        start = self.learner.world_model.rssm.initial(len(batch.reward), batch.reward)
        figures, _ = self.learner.update(batch, start, noise)
        self._pending.append(figures)

    def figures(self) -> dict[str, float]:
        """Means over the updates since the last call, fetched from the device at once.

        Raises:
            TrainingDiverged: one of them is not finite; the update that made it so is behind us, so the state is worth nothing.
        """
        if not self._pending:
            return {}
        names = list(self._pending[0])
        means = torch.stack([torch.stack([figures[name] for name in names]) for figures in self._pending]).mean(0).tolist()
        self._pending.clear()
        found = dict(zip(names, means, strict=True))
        bad = [name for name, value in found.items() if not np.isfinite(value)]
        if bad:
            raise TrainingDiverged(f"training: {', '.join(bad[:3])} became non-finite; lower optimizer.learning_rate or look at the data")
        return found

    @torch.no_grad()
    def holdout(self, sampler: WindowSampler, batches: int) -> dict[str, float]:
        """The world model's loss terms on other data, by the same names with `holdout/` in front; the same batches every time."""
        world_model = self.learner.world_model
        sums: dict[str, float] = {}
        for number in range(batches):
            batch = to_batch(sampler.sample(number), self.spec, self.compute.device)
            noise = world_model.config.latent.noise(tuple(batch.reward.shape), generator(self.compute, self.seed, HOLDOUT_NOISE, number))
            observed = world_model.observe(world_model.rssm.initial(len(batch.reward), batch.reward), batch, noise=noise)
            for name, term in world_model.losses(observed, batch)[0].items():
                sums[name] = sums.get(name, 0.0) + float(term.mean()) / batches
        return {f"holdout/{name}": value for name, value in sums.items()}


def fit_scaling(world_model: WorldModel, replay: Replay) -> None:
    """Let the world model take the statistics of its plain numbers from every row that is there, if it has none yet."""
    columns = [stream.columns for stream in replay.streams if len(stream)]
    codecs = {name: observation_codec(replay.spec.observation[name]) for name in world_model.scaler.names}
    rows = {name: np.concatenate([codec.encode(c[f"observation/{name}"]) for c in columns]) for name, codec in codecs.items()}
    world_model.scaler.fit({name: torch.from_numpy(numbers) for name, numbers in rows.items()})


def to_batch(windows: Windows, spec: TaskSpec, device: torch.device) -> Batch:
    """Windows as tensors: observations and actions as the numbers that networks read."""
    codec = ActionCodec(spec.action)
    prev_action = codec.encode(windows.prev_action)
    prev_action[windows.is_first] = 0  # nothing led here, which is not the same as choice number 0

    def tensor(array: np.ndarray) -> Tensor:  # type: ignore[type-arg]
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Batch(
        observation=encoded(spec, windows.observation, device),
        prev_action=tensor(prev_action),
        reward=tensor(windows.reward.astype(np.float32)),
        is_first=tensor(windows.is_first),
        is_last=tensor(windows.is_last),
        terminated=tensor(windows.terminated),
    )
