"""The recurrent state-space model: sequence model, prior and posterior, and the scan over time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.core.tensors import LatentState
from dreamctl.nn.blocks import DEFAULT_STYLE, MLP, Dense, Linear
from dreamctl.nn.distributions import Draw, inverse_cdf
from dreamctl.nn.style import LayerStyle
from dreamctl.world_model.cells import BlockGRU, Cell, SequenceModel
from dreamctl.world_model.initial import InitialState, ZeroInitial
from dreamctl.world_model.latents import Latent


@dataclass(frozen=True)
class RSSMConfig:
    """Section `world_model.rssm`.

    Attributes:
        recurrent: D, width of h.
        units: U, of every hidden layer.
        cell: kind of recurrent cell.
        prior_layers: dense blocks between h and the prior.
        posterior_layers: dense blocks between [h, x] and the posterior.
        initial: kind of state before anything was seen.
    """

    recurrent: Count = 2048
    units: Count = 256
    cell: Cell = field(default_factory=BlockGRU)
    prior_layers: Count = 2
    posterior_layers: Count = 1
    initial: InitialState = field(default_factory=ZeroInitial)

    def __post_init__(self) -> None:
        self.cell.check(self.recurrent)


class RSSM(nn.Module):
    """p(z_t | h_t), q(z_t | h_t, x_t) and h_t = f(h_{t-1}, z_{t-1}, a_{t-1})."""

    # What one cell's `weights` made goes back to the same cell, whichever it is.
    sequence_model: SequenceModel[Any]

    def __init__(
        self, config: RSSMConfig, latent: Latent, embedding_size: int, action_size: int, *, style: LayerStyle = DEFAULT_STYLE
    ) -> None:
        super().__init__()
        units = config.units
        self.latent = latent
        self.recurrent = config.recurrent
        self.sequence_model = config.cell.module(config.recurrent, units, latent.size, action_size, style=style)
        self.transition = nn.Sequential(MLP(config.recurrent, config.prior_layers, units, style), Linear(units, latent.param_size))
        self.inference = Dense(config.recurrent + embedding_size, units, style)
        self.inference_hidden = MLP(units, config.posterior_layers - 1, units, style)
        self.inference_out = Linear(units, latent.param_size)
        self.initial_state = config.initial.module(config.recurrent, latent.size)

    def initial(self, batch: int, like: Tensor) -> LatentState:
        """The state before anything was seen, (batch, ·), in the dtype and on the device of `like`."""
        return self.initial_state.state(batch, like, self._prior_mode)

    def prior(self, h: Tensor) -> Tensor:
        """h (..., D) -> parameters of p(z | h), (..., param_size)."""
        return self.transition(h)

    def observe(
        self,
        start: LatentState,
        embedding: Tensor,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        noise: Tensor,
        draw: Draw = inverse_cdf,
    ) -> tuple[LatentState, Tensor]:
        """Posterior states of a sequence; where `is_first`, the state is the initial one and the previous action zeros.

        Args:
            start: (B, ·), the state before the first step.
            embedding: (B, T, E).
            prev_action: (B, T, A).
            is_first: (B, T) bool.
            noise: (B, T, ·), what `draw` wants.
            draw: from probabilities and noise to one-hot samples; a gaussian latent has no use for it.

        Returns:
            The states (B, T, ·) and the parameters of their posteriors (B, T, param_size).
        """
        keep = (~is_first).t().unsqueeze(-1).to(embedding.dtype)  # (T, B, 1)
        weights = self.sequence_model.weights()
        actions = (prev_action.transpose(0, 1) * keep).flatten(0, 1)
        action_inputs = self.sequence_model.action_inputs(actions, weights).unflatten(0, keep.shape[:2]).unbind(0)
        dtype = embedding.dtype  # of products and of the state: half under autocast
        of_h, of_x = self.inference.linear.weight.to(dtype).split([self.recurrent, embedding.shape[-1]], 1)
        evidence = nn.functional.linear(embedding.transpose(0, 1), of_x, self.inference.linear.bias).unbind(0)
        reset = self.initial_state.reset(self._prior_mode)
        h, z = start.h.to(dtype), start.z.to(dtype)
        states, params = [], []
        for kept, action_input, seen, chance in zip(keep.unbind(0), action_inputs, evidence, noise.unbind(1), strict=True):
            h = self.sequence_model(*reset(h, z, kept), action_input, weights)
            posterior = self.inference_out(self.inference_hidden(self.inference.activate(torch.addmm(seen, h, of_h.t()))))
            z = self.latent.distribution(posterior).sample(chance, draw).flatten(1).to(h.dtype)
            states.append((h, z))
            params.append(posterior)
        hs, zs = zip(*states, strict=True)
        return LatentState(torch.stack(hs, 1), torch.stack(zs, 1)), torch.stack(params, 1)

    def imagine(
        self,
        start: LatentState,
        policy: Callable[[LatentState, int], Tensor],
        horizon: int,
        *,
        noise: Tensor,
        draw: Draw = inverse_cdf,
    ) -> tuple[LatentState, Tensor]:
        """States that follow from `start` when `policy` acts; z comes from the prior.

        Args:
            start: (N, ·).
            policy: from the state (N, ·) at step i to an action (N, A).
            horizon: H.
            noise: (H, N, ·), what `draw` wants.
            draw: from probabilities and noise to one-hot samples; a gaussian latent has no use for it.

        Returns:
            States (N, H+1, ·), the start first, and actions (N, H+1, A); the last action is drawn but never taken.
        """
        weights = self.sequence_model.weights()
        states, actions = [start], [policy(start, 0)]
        for step, chance in enumerate(noise.unbind(0), 1):
            before = states[-1]
            h = self.sequence_model(before.h, before.z, self.sequence_model.action_inputs(actions[-1], weights), weights)
            z = self.latent.distribution(self.prior(h)).sample(chance, draw).flatten(1).to(h.dtype)
            states.append(LatentState(h, z))
            actions.append(policy(states[-1], step))
        assert len(states) == horizon + 1, "noise must hold one entry a step"
        state = LatentState(torch.stack([s.h for s in states], 1), torch.stack([s.z for s in states], 1))
        return state, torch.stack(actions, 1)

    def _prior_mode(self, h: Tensor) -> Tensor:
        """h (N, D) -> the likeliest z of the prior, (N, Z)."""
        return self.latent.distribution(self.prior(h)).mode.flatten(1).to(h.dtype)
