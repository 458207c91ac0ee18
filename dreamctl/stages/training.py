"""The learner with its data, as `train-wm`, `train-ac` and `run` share it: batches, noise, figures."""

from collections import deque
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dreamctl.core.codec import ActionCodec, observation_codec
from dreamctl.core.errors import TrainingDiverged
from dreamctl.core.experience import TaskSpec, Windows
from dreamctl.core.tensors import Batch, LatentState
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import Batches
from dreamctl.stages.compute import Compute, generator
from dreamctl.stages.encoding import encoded, upload
from dreamctl.stages.learner import Learner
from dreamctl.stages.window_start import Memory, ModelStates
from dreamctl.world_model.model import WorldModel

# What noise is for, after the seed; an update's own is 0, that of acting is in policy.py.
HOLDOUT_NOISE, CONTEXT_NOISE, HOLDOUT_CONTEXT_NOISE = 1, 2, 3


class Uploads:
    """Batches that may still be on their way to a CUDA device.

    When one is drawn, the buffer of the last but one is filled anew behind it: that one has to be there.
    """

    def __init__(self) -> None:
        self._begun: deque[torch.cuda.Event] = deque()

    def wait(self) -> None:
        """Until only the last one may be under way."""
        while len(self._begun) > 1:
            self._begun.popleft().synchronize()

    def note(self, device: torch.device) -> None:
        """Another one is on its way."""
        if device.type == "cuda":
            self._begun.append(torch.cuda.current_stream(device).record_event())


@dataclass
class Trainer:
    """A learner with its data: every update is a pure function of the seed, its number and what the replay then holds.

    Attributes:
        offset: updates behind the checkpoint that the learner began from; numbers go on from there, so that no batch is drawn twice.
        memory: stored latents, where windows begin with them.
    """

    learner: Learner
    sampler: Batches
    spec: TaskSpec
    compute: Compute
    seed: int
    offset: int = 0
    memory: Memory | None = None
    _pending: list[dict[str, Tensor]] = field(default_factory=list)
    _uploads: Uploads = field(default_factory=Uploads)

    def update(self, number: int) -> None:
        """Gradient update `number` of this run, counted from 0."""
        number += self.offset
        self._uploads.wait()
        windows, start = self._begin(self.sampler, number, CONTEXT_NOISE)
        batch = self._to_batch(windows)
        self._uploads.note(self.compute.device)
        size, length = batch.reward.shape
        noise = self.learner.noise(size, length, generator(self.compute, self.seed, 0, number))
        figures, state = self.learner.update(batch, start, noise)
        self._pending.append(figures)
        if self.memory is not None:
            self.memory.keep(self.sampler, windows, state, number + 1)

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
    def holdout(self, sampler: Batches, batches: int) -> dict[str, float]:
        """The world model's loss terms on other data, by the same names with `holdout/` in front; the same batches every time.

        Windows begin as those that are learned from do, but nothing is stored.
        """
        world_model = self.learner.world_model
        sums: dict[str, float] = {}
        for number in range(batches):
            windows, start = self._begin(sampler, number, HOLDOUT_CONTEXT_NOISE)
            batch = self._to_batch(windows)
            noise = world_model.config.latent.noise(tuple(batch.reward.shape), generator(self.compute, self.seed, HOLDOUT_NOISE, number))
            with self.compute.autocast():
                terms, _ = world_model.losses(world_model.observe(start, batch, noise=noise), batch)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.mean()) / batches
        return {f"holdout/{name}": value for name, value in sums.items()}

    def _begin(self, sampler: Batches, number: int, noise: int) -> tuple[Windows, LatentState]:
        """The rows of batch `number` to learn from, and the states before them."""
        chances = partial(generator, self.compute, self.seed, noise, number)
        states = ModelStates(self.learner.world_model, self._to_batch, sampler, self.compute, chances, self.memory)
        return sampler.config.start.begin(sampler.sample(number), states)

    def _to_batch(self, windows: Windows) -> Batch:
        return to_batch(windows, self.spec, self.compute.device)


def fit_scaling(world_model: WorldModel, replay: Replay) -> None:
    """Let the world model take the statistics of its plain numbers from every row that is there, if it has none yet."""
    streams = [stream for stream in replay.streams if len(stream)]
    codecs = {name: observation_codec(replay.spec.observation[name]) for name in world_model.scaler.names}
    rows = {name: np.concatenate([codec.encode(s.column(f"observation/{name}")) for s in streams]) for name, codec in codecs.items()}
    world_model.scaler.fit({name: torch.from_numpy(numbers) for name, numbers in rows.items()})


def to_batch(windows: Windows, spec: TaskSpec, device: torch.device) -> Batch:
    """Windows as tensors: observations and actions as the numbers that networks read."""
    codec = ActionCodec(spec.action)
    prev_action = codec.encode(windows.prev_action)
    prev_action[windows.is_first] = 0  # nothing led here, which is not the same as choice number 0

    return Batch(
        observation=encoded(spec, windows.observation, device),
        prev_action=upload(prev_action, device),
        reward=upload(windows.reward.astype(np.float32), device),
        is_first=upload(windows.is_first, device),
        is_last=upload(windows.is_last, device),
        terminated=upload(windows.terminated, device),
    )
