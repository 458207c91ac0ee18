"""Small world models in float64 and batches for them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor

from dreamctl.core.experience import TaskSpec
from dreamctl.core.parts import Choices, Part
from dreamctl.core.tensors import Batch, LatentState
from dreamctl.nn.convolutions import PooledConvolutions
from dreamctl.world_model.cells import BlockGRU
from dreamctl.world_model.decoder import DecoderConfig
from dreamctl.world_model.encoder import EncoderConfig
from dreamctl.world_model.latents import CategoricalLatent
from dreamctl.world_model.model import PredictorConfig, WorldModel, WorldModelConfig
from dreamctl.world_model.rssm import RSSMConfig

VECTORS = {name: spaces.Box(-np.inf, np.inf, shape, np.float32) for name, shape in {"body/place": (3,), "height": ()}.items()}
# Neither image nor vector is in the order of its name.
IMAGES = {"front": spaces.Box(0, 255, (12, 16, 3), np.uint8), "back": spaces.Box(0, 255, (12, 16), np.uint8)}
CHOICES = {"gear": spaces.Discrete(3), "doors": spaces.MultiDiscrete([2, 2, 4])}
EVERYTHING = {**IMAGES, **VECTORS, **CHOICES}
BOX, DISCRETE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)
TINY = WorldModelConfig(
    rssm=RSSMConfig(recurrent=16, units=8, cell=BlockGRU(blocks=4)),
    latent=CategoricalLatent(groups=3, classes=4),
    encoder=EncoderConfig(layers=1, units=8),
    decoder=DecoderConfig(layers=1, units=8),
    convolutions=PooledConvolutions(depth=2, multipliers=(2, 4)),
    reward_predictor=PredictorConfig(units=8),
    continue_predictor=PredictorConfig(units=8),
)


def spec(action: Space = BOX, observation: Mapping[str, Space] = VECTORS) -> TaskSpec:
    return TaskSpec(observation, action, "gym", "Tiny-v0")


def world_model(action: Space = BOX, observation: Mapping[str, Space] = VECTORS, **changes: object) -> WorldModel:
    torch.manual_seed(1)
    return WorldModel(replace(TINY, **changes), spec(action, observation)).double()


def batch(model: WorldModel, size: int = 3, length: int = 5, seed: int = 0) -> Batch:
    """Random rows; nothing begins or ends inside."""
    noise = torch.Generator().manual_seed(seed)
    nowhere = torch.zeros(size, length, dtype=torch.bool)
    lead = (size, length)
    vectors = {name: torch.cat([_part(part, lead, noise) for part in parts], -1) for name, parts in model.decoder.parts.items()}
    shapes = model.decoder.image.images if model.decoder.image is not None else {}
    images = {name: torch.randint(256, (*lead, *shape), generator=noise).to(torch.uint8) for name, shape in shapes.items()}
    return Batch(
        observation=vectors | images,
        prev_action=torch.rand(size, length, model.rssm.sequence_model.action_size, generator=noise).double(),
        reward=torch.randn(size, length, generator=noise).double(),
        is_first=nowhere,
        is_last=nowhere,
        terminated=nowhere,
    )


def _part(part: Part, lead: tuple[int, int], noise: torch.Generator) -> Tensor:
    if not isinstance(part, Choices):
        return torch.randn(*lead, part.size, generator=noise).double()
    index = torch.randint(part.classes, (*lead, part.groups), generator=noise)
    return torch.nn.functional.one_hot(index, part.classes).double().flatten(-2)


def start(model: WorldModel, size: int = 3, seed: int = 0) -> LatentState:
    """Some state, as if much had been seen."""
    noise = torch.Generator().manual_seed(seed)
    h = torch.rand(size, model.rssm.recurrent, generator=noise).double() * 2 - 1
    z = model.config.latent.distribution(torch.randn(size, model.config.latent.param_size, generator=noise).double()).mode.flatten(1)
    return LatentState(h, z)


def chances(model: WorldModel, *shape: int, seed: int = 0) -> torch.Tensor:
    return model.config.latent.noise(shape, torch.Generator().manual_seed(seed)).double()
