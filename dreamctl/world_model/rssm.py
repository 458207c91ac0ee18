"""The recurrent state-space model: sequence model, prior and posterior, and the scan over time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.core.tensors import LatentState
from dreamctl.nn.blocks import MLP, NORM_EPS, BlockLinear, Dense, Linear
from dreamctl.nn.distributions import Draw, inverse_cdf
from dreamctl.world_model.latents import Latent

# The update gate starts mostly closed: σ(-1) = 0.27 of the candidate is taken at each step.
UPDATE_BIAS = -1.0


@dataclass(frozen=True)
class RSSMConfig:
    """Section `world_model.rssm`.

    Attributes:
        recurrent: D, width of h.
        units: U, of every hidden layer.
        blocks: G, of the block-diagonal layers.
        prior_layers: dense blocks between h and the prior.
    """

    recurrent: Count = 2048
    units: Count = 256
    blocks: Count = 8
    prior_layers: Count = 2

    def __post_init__(self) -> None:
        if self.recurrent % self.blocks:
            raise ValueError(f"recurrent={self.recurrent} does not divide into blocks={self.blocks}; make it a multiple")


class SequenceModel(nn.Module):
    """h_t = f(h_{t-1}, z_{t-1}, a_{t-1}): a GRU whose large matrices are block-diagonal (DreamerV3, appendix on the block GRU).

        u = SiLU(RMS(blockwise [h_k, Dense(h), Dense(z), Dense(a)] W_k + b))
        reset, candidate, update = three equal parts of each block of u V + c
        c = tanh(σ(reset) · candidate),  p = σ(update - 1),  h' = p c + (1 - p) h

    Everything that does not depend on h or z is computed for all steps at once, in `action_inputs`; `weights` cuts the stored tensors
    into what a step multiplies by, so that a step has no concatenation and no weight is permuted twice.
    """

    def __init__(self, config: RSSMConfig, latent_size: int, action_size: int) -> None:
        super().__init__()
        size, units, blocks = config.recurrent, config.units, config.blocks
        self.size, self.units, self.blocks = size, units, blocks
        self.from_h = Dense(size, units)
        self.from_z = Dense(latent_size, units)
        self.from_action = Dense(action_size, units)
        # The official initialiser's fan-in counts the shared input once a block, as this input size does.
        self.hidden = BlockLinear(size + 3 * units * blocks, size, blocks)
        self.hidden_norm = nn.RMSNorm(size, eps=NORM_EPS)
        self.gates = BlockLinear(size, 3 * size, blocks)

    def weights(self) -> "SequenceWeights":
        """The stored weights as a step uses them; once before a scan, gradients flow through."""
        own = self.size // self.blocks
        shared = self.hidden.weight[:, own:].transpose(0, 1).reshape(-1, self.size)  # (3U, D)
        gate_bias = self.gates.bias.view(self.blocks, 1, 3, own)
        update = torch.zeros_like(gate_bias)
        update[:, :, 2] = UPDATE_BIAS
        return SequenceWeights(
            own=self.hidden.weight[:, :own],
            from_h=shared[: self.units],
            from_z=shared[self.units : 2 * self.units],
            from_action=shared[2 * self.units :],
            gate_bias=(gate_bias + update).view(self.blocks, 1, -1),
        )

    def action_inputs(self, action: Tensor, weights: "SequenceWeights") -> Tensor:
        """What actions (N, A) add to the hidden layer, bias included, (N, D); actions beyond ±1 are scaled back to ±1."""
        action = action / action.detach().abs().clamp_min(1.0)
        return torch.addmm(self.hidden.bias, self.from_action(action), weights.from_action)

    def forward(self, h: Tensor, z: Tensor, action_input: Tensor, weights: "SequenceWeights") -> Tensor:
        """One step: h (N, D), z (N, Z), action_input (N, D) -> the next h (N, D)."""
        shared = torch.addmm(action_input, self.from_h(h), weights.from_h)
        shared = torch.addmm(shared, self.from_z(z), weights.from_z)
        h = self._chunk(h)
        hidden = torch.baddbmm(self._chunk(shared), h, weights.own).transpose(0, 1).flatten(1)
        hidden = nn.functional.silu(self.hidden_norm(hidden))
        gates = torch.baddbmm(weights.gate_bias, self._chunk(hidden), self.gates.weight)
        reset, candidate, update = gates.chunk(3, -1)  # each (G, N, D/G)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(h, candidate, torch.sigmoid(update)).transpose(0, 1).flatten(1)

    def _chunk(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)  # (G, N, D/G)


@dataclass(frozen=True)
class SequenceWeights:
    """Views of the sequence model's weights: own (G, D/G, D/G), from_* (U, D), gate_bias (G, 1, 3D/G)."""

    own: Tensor
    from_h: Tensor
    from_z: Tensor
    from_action: Tensor
    gate_bias: Tensor


class RSSM(nn.Module):
    """p(z_t | h_t), q(z_t | h_t, x_t) and h_t = f(h_{t-1}, z_{t-1}, a_{t-1})."""

    def __init__(self, config: RSSMConfig, latent: Latent, embedding_size: int, action_size: int) -> None:
        super().__init__()
        self.latent = latent
        self.recurrent = config.recurrent
        self.sequence_model = SequenceModel(config, latent.size, action_size)
        self.transition = nn.Sequential(MLP(config.recurrent, config.prior_layers, config.units), Linear(config.units, latent.param_size))
        self.inference = Dense(config.recurrent + embedding_size, config.units)
        self.inference_out = Linear(config.units, latent.param_size)

    def initial(self, batch: int, like: Tensor) -> LatentState:
        """The state before anything was seen: zeros, (batch, ·), in the dtype and on the device of `like`."""
        return LatentState(like.new_zeros(batch, self.recurrent), like.new_zeros(batch, self.latent.size))

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
        """Posterior states of a sequence; where `is_first`, state and previous action are zeros.

        Args:
            start: (B, ·), the state before the first step.
            embedding: (B, T, E).
            prev_action: (B, T, A).
            is_first: (B, T) bool.
            noise: (B, T, ·), what `draw` wants.
            draw: from probabilities and noise to one-hot samples.

        Returns:
            The states (B, T, ·) and the parameters of their posteriors (B, T, param_size).
        """
        keep = (~is_first).t().unsqueeze(-1).to(embedding.dtype)  # (T, B, 1)
        weights = self.sequence_model.weights()
        actions = (prev_action.transpose(0, 1) * keep).flatten(0, 1)
        action_inputs = self.sequence_model.action_inputs(actions, weights).unflatten(0, keep.shape[:2]).unbind(0)
        of_h, of_x = self.inference.linear.weight.split([self.recurrent, embedding.shape[-1]], 1)
        evidence = nn.functional.linear(embedding.transpose(0, 1), of_x, self.inference.linear.bias).unbind(0)
        h, z = start.h, start.z
        states, params = [], []
        for kept, action_input, seen, chance in zip(keep.unbind(0), action_inputs, evidence, noise.unbind(1), strict=True):
            h = self.sequence_model(h * kept, z * kept, action_input, weights)
            posterior = self.inference_out(self.inference.activate(torch.addmm(seen, h, of_h.t())))
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
            draw: from probabilities and noise to one-hot samples.

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
