"""How something acts in a real environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dreamctl.actor_critic.model import ActorCritic
from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.session import Session
from dreamctl.core.spaces import flat_values
from dreamctl.core.tensors import LatentState
from dreamctl.stages.agent import load_actor_critic, load_world_model
from dreamctl.stages.compute import Compute, as_made, generator, set_up
from dreamctl.stages.encoding import encoded
from dreamctl.stages.experiment import recorded
from dreamctl.world_model.model import WorldModel


class RandomPolicy:
    """Uniform actions; standard normal where a Box has no bound."""

    def __init__(self, spec: TaskSpec, seed: int) -> None:
        self.codec = ActionCodec(spec.action)
        self.noise = np.random.default_rng([seed, 0])

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:  # noqa: ARG002
        """(N, *action) in environment units, whatever was observed."""
        return self.codec.random(self.noise, len(is_first))


class DreamPolicy:
    """The actor on the world model's posterior states; remembers a latent state and the last action for each lane."""

    def __init__(
        self,
        world_model: WorldModel,
        actor_critic: ActorCritic,
        spec: TaskSpec,
        compute: Compute,
        *,
        action: Literal["sample", "mode"] = "sample",
        seed: int = 0,
    ) -> None:
        self.world_model, self.actor_critic, self.spec = world_model, actor_critic, spec
        self.codec = ActionCodec(spec.action)
        self.action, self.compute, self.device = action, compute, compute.device
        self.generator = generator(compute, seed, 1)
        self.state: LatentState | None = None
        self.prev_action = torch.zeros(0)

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """(N, *action) in environment units from name -> (N, ...); lanes restart where `is_first`."""
        with torch.no_grad(), self.compute.autocast():
            self._choose(observation, is_first)
        numbers: NDArray[np.float32] = self.prev_action.cpu().numpy()
        return self.codec.decode(numbers)

    def _choose(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> None:
        """The next state and action (N, A)."""
        lanes = len(is_first)
        embedding = self.world_model.encoder(self.world_model.scaler(encoded(self.spec, observation, self.device))).unsqueeze(1)
        if self.state is None or len(self.state.h) != lanes:
            self.state = self.world_model.rssm.initial(lanes, embedding)
            self.prev_action = embedding.new_zeros(lanes, self.codec.size)
        noise = self.world_model.config.latent.noise((lanes, 1), self.generator)
        first = torch.from_numpy(is_first).to(self.device).unsqueeze(1)
        state, _ = self.world_model.rssm.observe(self.state, embedding, self.prev_action.unsqueeze(1), first, noise=noise)
        self.state = state.flatten()
        belief = self.actor_critic.policy(self.state.features)
        sample = self.action == "sample"
        self.prev_action = belief.sample(self.actor_critic.noise((lanes,), self.generator)) if sample else belief.mode


class Agent:
    """An agent checkpoint as a policy for one environment: `load("agent.ckpt").act(observation)`."""

    def __init__(self, policy: DreamPolicy) -> None:
        self.policy = policy
        self._is_first = True

    def reset(self) -> None:
        """Forget the episode; call it whenever the environment was reset."""
        self._is_first = True

    def act(self, observation: object) -> object:
        """The action for one observation, as the environment gives and takes them."""
        batch = {name: np.asarray(value)[None] for name, value in flat_values(observation).items()}
        action: Array = self.policy.act(batch, np.array([self._is_first]))[0]
        self._is_first = False
        return self.policy.codec.clip(action)


def load(path: str | Path, *, action: Literal["sample", "mode"] = "sample", seed: int = 0, device: str = "auto") -> Agent:
    """An agent checkpoint as a policy.

    Raises:
        InputError: the file is missing, corrupt, or holds no agent.
    """
    path = Path(path)
    policy = load_policy(Checkpoint.load(path), path, Session(seed=seed, device=device), action=action, seed=seed)
    return Agent(policy)


def load_policy(checkpoint: Checkpoint, path: Path, session: Session, *, action: Literal["sample", "mode"], seed: int) -> DreamPolicy:
    """The policy inside an agent checkpoint."""
    compute = set_up(as_made(session, checkpoint.provenance), recorded(checkpoint.config, path).experiment.world_model)
    world_model = load_world_model(checkpoint, path, compute)
    actor_critic = load_actor_critic(checkpoint, path, world_model, compute)
    return DreamPolicy(world_model, actor_critic, checkpoint.spec, compute, action=action, seed=seed)
