"""The one update: losses, gradients, optimizer, slow critic, on whichever parts are given; `train-wm`, `train-ac` and `run` share it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamctl.actor_critic.model import ActorCritic, Dreamt
from dreamctl.core.tensors import Batch, LatentState, Rollout
from dreamctl.nn.distributions import Draw, inverse_cdf
from dreamctl.nn.frozen import frozen
from dreamctl.nn.optim import Optimizer
from dreamctl.world_model.model import Observed, WorldModel


@dataclass(frozen=True)
class Noise:
    """All the randomness of one update, drawn beforehand.

    Attributes:
        posterior: (B, T, ·), for the posterior samples.
        dream: (H, N, ·), for the prior samples.
        action: (H+1, N, ·), for the actor.
    """

    posterior: Tensor
    dream: Tensor | None = None
    action: Tensor | None = None


class Learner:
    """World model and actor-critic with one optimizer over the parts whose parameters require gradients.

    Without an actor-critic it trains the world model; with a world model that requires no gradients, the actor and the critic on its
    dreams, and then the replay value loss trains the critic only; otherwise all of them on one batch. `autocast` is the precision that
    losses are computed in; gradients follow it, parameters and optimizer stay as they are.
    """

    def __init__(
        self,
        world_model: WorldModel,
        actor_critic: ActorCritic | None,
        optimizer: Optimizer,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.world_model, self.actor_critic, self.autocast = world_model, actor_critic, autocast
        parts: dict[str, nn.Module] = {"world_model": world_model}
        if actor_critic is not None:
            parts |= {"actor": actor_critic.actor, "critic": actor_critic.critic}
        groups = {name: [p for p in part.parameters() if p.requires_grad] for name, part in parts.items()}
        self.groups = {name: parameters for name, parameters in groups.items() if parameters}
        self.optimizer = optimizer.optimizer(self.groups)

    @property
    def parameters(self) -> Iterable[nn.Parameter]:
        """Everything that learns."""
        return (parameter for parameters in self.groups.values() for parameter in parameters)

    def steps(self, part: str) -> int:
        """Updates that a part has had, those before an `--init` included."""
        return int(self.optimizer.group_state(part)["step"])

    def noise(self, batch: int, steps: int, generator: torch.Generator) -> Noise:
        """Fresh noise for an update on (batch, steps) windows."""
        latent = self.world_model.config.latent
        posterior = latent.noise((batch, steps), generator)
        if self.actor_critic is None:
            return Noise(posterior)
        horizon, starts = self.actor_critic.config.horizon, batch * (self.actor_critic.config.starts or steps)
        return Noise(posterior, latent.noise((horizon, starts), generator), self.actor_critic.noise((horizon + 1, starts), generator))

    def update(self, batch: Batch, start: LatentState, noise: Noise, draw: Draw = inverse_cdf) -> tuple[dict[str, Tensor], LatentState]:
        """One gradient step on everything that learns.

        Args:
            batch: (B, T).
            start: (B, ·), the state before the first step.
            noise: as `noise` makes it.
            draw: from probabilities and noise to one-hot samples.

        Returns:
            Scalars to watch, still on the device: `loss`, each loss term, `gradient_norm` and the parts' own figures; and the posterior
            states (B, T, ·) that the batch was seen in, constant.
        """
        with self.autocast():
            terms, figures, state = self.losses(batch, start, noise, draw)
        loss = torch.stack([term.mean() for term in terms.values()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        figures["gradient_norm"] = torch.stack(torch._foreach_norm(gradients)).norm()
        self.optimizer.step()
        if self.actor_critic is not None:
            self.actor_critic.update_slow_critic()
        return {"loss": loss.detach()} | {f"loss/{name}": term.detach().mean() for name, term in terms.items()} | figures, state.detach()

    def losses(
        self, batch: Batch, start: LatentState, noise: Noise, draw: Draw = inverse_cdf
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], LatentState]:
        """Scaled loss terms of everything that learns, figures, posterior states; the scale of returns takes in what it sees."""
        terms: dict[str, Tensor] = {}
        figures: dict[str, Tensor] = {}
        observed = self.world_model.observe(start, batch, noise=noise.posterior, draw=draw)
        if "world_model" in self.groups:
            terms, figures = self.world_model.losses(observed, batch)
        if self.actor_critic is not None:
            dreamt = self._dream(self.actor_critic, observed.state, batch, noise, draw)
            terms |= dreamt.losses
            if self.actor_critic.config.loss_scales.replay_value > 0:
                terms["replay_value"] = self._replay_loss(self.actor_critic, observed, batch, dreamt)
            figures |= dreamt.figures
        return terms, figures, observed.state

    def _dream(self, actor_critic: ActorCritic, state: LatentState, batch: Batch, noise: Noise, draw: Draw) -> Dreamt:
        """Imagine from the last steps of every window, and learn from it; with a graph only where the actor learns through the dream."""
        steps = actor_critic.config.starts or batch.reward.shape[1]
        start = state.detach().flatten(steps)
        with frozen(self.world_model) if actor_critic.gradient.through_dream else torch.no_grad():
            rollout = dream(self.world_model, actor_critic, start, noise, draw)
        # Earlier versions of torch hand out casts of weights that were made without gradients also where gradients are wanted.
        torch.clear_autocast_cache()
        return actor_critic.losses(actor_critic.begin(rollout, batch.terminated[:, -steps:].flatten()))

    def _replay_loss(self, actor_critic: ActorCritic, observed: Observed, batch: Batch, dreamt: Dreamt) -> Tensor:
        """The critic's loss on the steps from which dreams began; their returns are what real experience bootstraps from."""
        steps = actor_critic.config.starts or batch.reward.shape[1]
        bootstrap = dreamt.returns[:, 0].unflatten(0, (-1, steps))
        return actor_critic.replay_loss(observed.state.features[:, -steps:], last_steps(batch, steps), bootstrap)


def dream(world_model: WorldModel, actor_critic: ActorCritic, start: LatentState, noise: Noise, draw: Draw = inverse_cdf) -> Rollout:
    """A dream in which the actor acts, as long as the noise lasts; `start` is (N, ·). The actor sees states as constants."""
    assert noise.dream is not None
    assert noise.action is not None
    chances = noise.action.unbind(0)

    def act(state: LatentState, step: int) -> Tensor:
        return actor_critic.policy(state.features.detach(), draw).sample(chances[step])

    return world_model.imagine(start, act, len(noise.dream), noise=noise.dream, draw=draw)


def last_steps(batch: Batch, steps: int) -> Batch:
    """The last so many steps of each window."""
    return Batch(
        observation={name: column[:, -steps:] for name, column in batch.observation.items()},
        prev_action=batch.prev_action[:, -steps:],
        reward=batch.reward[:, -steps:],
        is_first=batch.is_first[:, -steps:],
        is_last=batch.is_last[:, -steps:],
        terminated=batch.terminated[:, -steps:],
    )
