"""The world model: what it sees, what it predicts, its losses, and how it dreams."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor, nn

from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import TaskSpec
from dreamctl.core.limits import Count, Natural, Weight, Within
from dreamctl.core.tensors import Batch, LatentState, Rollout
from dreamctl.nn.convolutions import Convolutions, PooledConvolutions
from dreamctl.nn.distributions import Draw, LatentDistribution, inverse_cdf
from dreamctl.nn.heads import Head, NoHead
from dreamctl.nn.scalars import ScalarOutput, SymexpTwoHot
from dreamctl.nn.style import LayerStyle
from dreamctl.world_model.continues import ContinueOutput, SoftContinue
from dreamctl.world_model.decoder import Decoder, DecoderConfig
from dreamctl.world_model.encoder import Encoder, EncoderConfig
from dreamctl.world_model.inputs import Inputs
from dreamctl.world_model.kl import KL, BalancedKL
from dreamctl.world_model.latents import CategoricalLatent, Latent
from dreamctl.world_model.rssm import RSSM, RSSMConfig
from dreamctl.world_model.scaling import SymlogOnly, VectorScaler, VectorScaling


@dataclass(frozen=True)
class PredictorConfig:
    """Sections `world_model.reward_predictor` and `world_model.continue_predictor`.

    Attributes:
        layers, units: of its dense blocks.
        scale: initial scale of its last layer; 0 starts from the prediction 0.
    """

    layers: Natural = 1
    units: Count = 256
    scale: Weight = 1.0


@dataclass(frozen=True)
class LossScales:
    """Section `world_model.loss_scales`; the KL kind carries its own."""

    observation: Weight = 1.0
    reward: Weight = 1.0
    continues: Weight = 1.0


@dataclass(frozen=True)
class WorldModelConfig:
    """Section `world_model`.

    Attributes:
        style: norm and nonlinearity of every network here.
        vectors: scaling of vector observations.
        convolutions: kind of the stages between an image and the dense layers, the same on the way in and out.
        reward_output: kind of the predicted reward.
        continue_output: kind of the predicted continuation.
        horizon: 1 / (1 - γ).
    """

    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    latent: Latent = field(default_factory=CategoricalLatent)
    kl: KL = field(default_factory=BalancedKL)
    style: LayerStyle = field(default_factory=LayerStyle)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    vectors: VectorScaling = field(default_factory=SymlogOnly)
    convolutions: Convolutions = field(default_factory=PooledConvolutions)
    reward_predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(scale=0.0))
    reward_output: ScalarOutput = field(default_factory=SymexpTwoHot)
    continue_predictor: PredictorConfig = field(default_factory=PredictorConfig)
    continue_output: ContinueOutput = field(default_factory=SoftContinue)
    loss_scales: LossScales = field(default_factory=LossScales)
    horizon: Annotated[float, Within(2)] = 333.0


@dataclass(frozen=True)
class Observed:
    """A batch seen through the model: posterior states (B, T, ·), posterior parameters, and vectors in network units beside the images."""

    state: LatentState
    posterior: Tensor
    scaled: Mapping[str, Tensor]


class WorldModel(nn.Module):
    """Encoder, recurrent state-space model, decoder, reward and continue predictors (DreamerV3)."""

    def __init__(self, config: WorldModelConfig, spec: TaskSpec) -> None:
        super().__init__()
        self.config = config
        inputs, stages, style = Inputs.of(spec), config.convolutions, config.style
        recurrent, latent = config.rssm.recurrent, config.latent.size
        self.state_size = recurrent + latent
        self.scaler = VectorScaler(config.vectors, inputs.numbers)
        self.encoder = Encoder(config.encoder, inputs, stages, style)
        self.rssm = RSSM(config.rssm, config.latent, self.encoder.size, ActionCodec(spec.action).size, style=style)
        self.decoder = Decoder(config.decoder, inputs, recurrent, latent, convolutions=stages, style=style)
        self.reward_predictor = _predictor(config.reward_predictor, self.state_size, config.reward_output.param_size, style)
        self.continue_predictor = _predictor(config.continue_predictor, self.state_size, config.continue_output.param_size, style)

    @property
    def discount(self) -> float:
        """γ = 1 - 1 / horizon."""
        return 1.0 - 1.0 / self.config.horizon

    def observe(self, start: LatentState, batch: Batch, *, noise: Tensor, draw: Draw = inverse_cdf) -> Observed:
        """Posterior states of a batch.

        Args:
            start: (B, ·), the state before the first step.
            batch: (B, T).
            noise: (B, T, ·), what `draw` wants.
            draw: from probabilities and noise to one-hot samples.
        """
        scaled = self.scaler(batch.observation)
        state, posterior = self.rssm.observe(start, self.encoder(scaled), batch.prev_action, batch.is_first, noise=noise, draw=draw)
        return Observed(state, posterior, scaled)

    def losses(self, observed: Observed, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Scaled loss terms, each (B, T): observation/<name>, reward, continue, and those of the KL kind; and scalars to watch.

        The scalars are the entropies of posterior and prior and the KL between them, in nats, before free nats and scales.
        """
        config, scales, features = self.config, self.config.loss_scales, observed.state.features
        posterior: LatentDistribution = config.latent.distribution(observed.posterior)
        prior: LatentDistribution = config.latent.distribution(self.rssm.prior(observed.state.h))
        reward = config.reward_output.distribution(self.reward_predictor(features))
        continues = config.continue_output.losses(self.continue_predictor(features), batch.terminated, self.discount)
        reconstruction = self.decoder.losses(self.decoder(observed.state), observed.scaled)
        terms = {name: scales.observation * loss for name, loss in reconstruction.items()}
        terms["reward"] = scales.reward * reward.loss(batch.reward)
        terms |= {name: scales.continues * loss for name, loss in continues.items()}
        terms |= config.kl(posterior, prior)
        assert all(term.shape == batch.reward.shape for term in terms.values()), "every loss term is (B, T)"
        with torch.no_grad():
            entropies = {"posterior_entropy": posterior.entropy().mean(), "prior_entropy": prior.entropy().mean()}
            return terms, {"kl": posterior.kl(prior).mean(), **entropies}

    def survival(self, features: Tensor) -> Tensor:
        """The predicted probability that the episode goes on, without the discount, of features (..., F), (...)."""
        return self.config.continue_output.survival(self.continue_predictor(features), self.discount)

    def continue_prob(self, features: Tensor) -> Tensor:
        """The same with the discount, (...): how much of what follows counts."""
        return self.config.continue_output.continue_prob(self.continue_predictor(features), self.discount)

    def imagine(
        self,
        start: LatentState,
        policy: Callable[[LatentState, int], Tensor],
        horizon: int,
        *,
        noise: Tensor,
        draw: Draw = inverse_cdf,
    ) -> Rollout:
        """A dream of `horizon` steps from each start, under any policy; gradients flow unless the caller turns them off.

        Args:
            start: (N, ·).
            policy: from the state (N, ·) at step i to an action (N, A).
            horizon: H.
            noise: (H, N, ·), what `draw` wants.
            draw: from probabilities and noise to one-hot samples.
        """
        state, action = self.rssm.imagine(start, policy, horizon, noise=noise, draw=draw)
        features = state.features
        reward = self.config.reward_output.distribution(self.reward_predictor(features)).mean
        divisor = self.config.continue_output.divisor(self.discount)
        return Rollout(state, action, reward, self.continue_prob(features), discount=divisor)

    def reconstruct(self, state: LatentState) -> dict[str, Tensor]:
        """What the states (..., ·) look like.

        Name -> (..., size), numbers in environment units and choices as probabilities of their classes, or an image
        (..., height, width, channels) in [0, 1].
        """
        means = self.decoder.means(self.decoder(state))
        return {name: self.scaler.unscale(name, mean) for name, mean in means.items()}


def _predictor(config: PredictorConfig, features: int, size: int, style: LayerStyle) -> Head | NoHead:
    return NoHead() if size == 0 else Head(features, size, layers=config.layers, units=config.units, scale=config.scale, style=style)
