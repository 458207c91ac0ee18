"""Small world models in float64 and batches for them."""

from dataclasses import replace

import numpy as np
import torch
from gymnasium import Space, spaces

from dreamctl.core.experience import TaskSpec
from dreamctl.core.tensors import Batch, LatentState
from dreamctl.world_model.cells import BlockGRU
from dreamctl.world_model.decoder import DecoderConfig
from dreamctl.world_model.encoder import EncoderConfig
from dreamctl.world_model.latents import CategoricalLatent
from dreamctl.world_model.model import PredictorConfig, WorldModel, WorldModelConfig
from dreamctl.world_model.rssm import RSSMConfig

BOX, DISCRETE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)
TINY = WorldModelConfig(
    rssm=RSSMConfig(recurrent=16, units=8, cell=BlockGRU(blocks=4)),
    latent=CategoricalLatent(groups=3, classes=4),
    encoder=EncoderConfig(layers=1, units=8),
    decoder=DecoderConfig(layers=1, units=8),
    reward_predictor=PredictorConfig(units=8),
    continue_predictor=PredictorConfig(units=8),
)


def spec(action: Space = BOX) -> TaskSpec:
    free = {"body/place": (3,), "height": ()}
    return TaskSpec({name: spaces.Box(-np.inf, np.inf, shape, np.float32) for name, shape in free.items()}, action, "gym", "Tiny-v0")


def world_model(action: Space = BOX, **changes: object) -> WorldModel:
    torch.manual_seed(1)
    return WorldModel(replace(TINY, **changes), spec(action)).double()


def batch(model: WorldModel, size: int = 3, length: int = 5, seed: int = 0) -> Batch:
    """Random rows; nothing begins or ends inside."""
    noise = torch.Generator().manual_seed(seed)
    nowhere = torch.zeros(size, length, dtype=torch.bool)
    sizes = {name: sum(part.size for part in parts) for name, parts in model.decoder.parts.items()}
    return Batch(
        observation={name: torch.randn(size, length, width, generator=noise).double() for name, width in sizes.items()},
        prev_action=torch.rand(size, length, model.rssm.sequence_model.action_size, generator=noise).double(),
        reward=torch.randn(size, length, generator=noise).double(),
        is_first=nowhere,
        is_last=nowhere,
        terminated=nowhere,
    )


def start(model: WorldModel, size: int = 3, seed: int = 0) -> LatentState:
    """Some state, as if much had been seen."""
    noise = torch.Generator().manual_seed(seed)
    h = torch.rand(size, model.rssm.recurrent, generator=noise).double() * 2 - 1
    z = model.config.latent.distribution(torch.randn(size, model.config.latent.param_size, generator=noise).double()).mode.flatten(1)
    return LatentState(h, z)


def chances(model: WorldModel, *shape: int, seed: int = 0) -> torch.Tensor:
    return model.config.latent.noise(shape, torch.Generator().manual_seed(seed)).double()
