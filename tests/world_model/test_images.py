import numpy as np
import pytest
import torch
from gymnasium import spaces

from dreamctl.core.experience import TaskSpec
from dreamctl.core.tensors import LatentState
from dreamctl.nn.convolutions import Convolutions, PooledConvolutions
from dreamctl.world_model.decoder import Decoder, DecoderConfig
from dreamctl.world_model.inputs import Inputs
from tests.kinds import each

SHAPE = (12, 16, 3)


def decoder(kind: type[Convolutions] = PooledConvolutions) -> Decoder:
    spec = TaskSpec({"image": spaces.Box(0, 255, SHAPE, np.uint8)}, spaces.Discrete(2), "gym", "Room-v0")
    return Decoder(DecoderConfig(1, 8, blocks=2), Inputs.of(spec), 16, 12, convolutions=kind(depth=2, multipliers=(1, 2))).double()


def state() -> LatentState:
    return LatentState(torch.randn(2, 5, 16).double(), torch.randn(2, 5, 12).double())


@each("kind", Convolutions)
def test_a_decoded_image_lies_between_black_and_white(kind: type[Convolutions]) -> None:
    model = decoder(kind)
    for parameter in model.parameters():
        parameter.data.mul_(2)
    image = model(state())["image"]
    assert image.shape == (2, 5, *SHAPE)
    assert 0 < image.min() < 0.2 < 0.8 < image.max() < 1


@pytest.mark.parametrize("brightness", [0, 77, 255])
def test_a_constant_image_costs_its_squared_distance_in_every_number(brightness: int) -> None:
    model, bias = decoder(), 0.7
    assert model.image is not None
    for parameter in model.parameters():
        parameter.data.zero_()
    model.image.out.bias.data.fill_(bias)
    seen = torch.full((2, 5, *SHAPE), brightness, dtype=torch.uint8)
    loss = model.losses(model(state()), {"image": seen})["observation/image"]
    wanted = np.prod(SHAPE) * (1 / (1 + np.exp(-bias)) - brightness / 255) ** 2
    torch.testing.assert_close(loss, torch.full((2, 5), wanted).double())
