"""How a window of a replay begins for a model: from zeros, after rows that are only observed, or from stored latents."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dreamctl.core.config import to_plain
from dreamctl.core.experience import Row, TaskSpec, Windows
from dreamctl.core.session import Session
from dreamctl.core.spaces import spec_to_json
from dreamctl.core.tensors import Batch, LatentState
from dreamctl.nn.distributions import full_precision
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import Batches, ReplayConfig
from dreamctl.replay.windows.latents import LatentStore
from dreamctl.replay.windows.side_file import SideFiles
from dreamctl.replay.windows.starts import Latents
from dreamctl.stages.compute import Compute
from dreamctl.world_model.model import WorldModel, WorldModelConfig


@dataclass(frozen=True)
class Memory:
    """Stored latents of a whole replay, as the side files keep them.

    Attributes:
        keeps: whether this training writes them. `train-ac` only reads: its world model is frozen, the states that were stored by the last
            updates of `train-wm` are its own, and two runs from the same files shall learn the same bits.
    """

    store: LatentStore
    files: SideFiles
    keeps: bool = True

    @classmethod
    def of(cls, replay: Replay, model: WorldModel, session: Session, updates: int, *, keeps: bool = True) -> "Memory":
        """What the side files hold of this replay for a model that has had so many updates."""
        store = LatentStore((model.config.rssm.recurrent, model.config.latent.size))
        files = SideFiles(store, latents_key(model.config, replay.spec), session.progress.note)
        files.read(replay.streams, updates)
        return cls(store, files, keeps)

    def keep(self, sampler: Batches, windows: Windows, state: LatentState, updates: int) -> None:
        """Store the posterior states (B, T, ·) of windows, as they were seen by update number `updates`."""
        if self.keeps:
            self.store.write(sampler.streams, windows.stream, windows.row, _numbers(state.h), _numbers(state.z), updates=updates)

    def keep_acting(self, replay: Replay, row: Row, state: LatentState, updates: int) -> None:
        """Store the state (lanes, ·) in which the policy acted on the row that was added last."""
        stream = replay.lane(row.lane)
        h, z = (_numbers(part[row.lane]).reshape(1, 1, -1) for part in (state.h, state.z))
        self.store.write([stream], np.zeros(1, np.int64), np.array([len(stream) - 1]), h, z, updates=updates)

    def save(self) -> None:
        """Write the side files, before each checkpoint, so that the one that is resumed from finds what it saw.

        A kill between the two leaves rows of later updates, which are dropped: that run resumes well, but not to the same bits.
        """
        if self.keeps:
            self.files.write()


@dataclass(frozen=True)
class ModelStates:
    """What a world model offers to the start of windows; see `replay.windows.starts.States`.

    Attributes:
        to_batch: windows as tensors.
        sampler: that drew the windows.
        noise: makes that of rows that are only observed.
        memory: None where the kind of start remembers nothing.
    """

    world_model: WorldModel
    to_batch: Callable[[Windows], Batch]
    sampler: Batches
    compute: Compute
    noise: Callable[[], torch.Generator]
    memory: Memory | None = None

    def zero(self, windows: Windows) -> LatentState:
        """The state before anything was seen."""
        return self.world_model.rssm.initial(len(windows.row), next(self.world_model.parameters()))

    @torch.no_grad()
    def observed(self, windows: Windows) -> LatentState:
        """The state after these rows, seen from the zero state; a constant."""
        chances = self.world_model.config.latent.noise(windows.reward.shape, self.noise())
        with self.compute.autocast():
            seen = self.world_model.observe(self.zero(windows), self.to_batch(windows), noise=chances).state
        return LatentState(seen.h[:, -1], seen.z[:, -1])

    def stored(self, windows: Windows) -> Latents:
        """What was stored for the first row of each window."""
        assert self.memory is not None
        return self.memory.store.read(self.sampler.streams, windows.stream, windows.row)

    def given(self, latents: Latents) -> LatentState:
        """Stored states as the model's own."""
        like = next(self.world_model.parameters())
        return LatentState(torch.from_numpy(latents.h).to(like), torch.from_numpy(latents.z).to(like))


def remembered(
    config: ReplayConfig, replay: Replay, model: WorldModel, session: Session, updates: int, *, keeps: bool = True
) -> Memory | None:
    """The memory of a replay where windows begin with what is remembered, None where they do not."""
    return Memory.of(replay, model, session, updates, keeps=keeps) if config.start.remembers else None


def latents_key(config: WorldModelConfig, spec: TaskSpec) -> str:
    """Sixteen hex digits that name an architecture and a task: stored latents of another one are of no use."""
    text = json.dumps([to_plain(config), spec_to_json(spec)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _numbers(tensor: torch.Tensor) -> NDArray[np.floating]:
    numbers: NDArray[np.floating] = full_precision(tensor).cpu().numpy()
    return numbers
