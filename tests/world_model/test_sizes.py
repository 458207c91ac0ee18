"""The official numbers of parameters, counted without allocating any."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces
from torch import nn

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig
from dreamctl.core.codec import ActionCodec
from dreamctl.core.config import build, load_preset
from dreamctl.core.experience import TaskSpec
from dreamctl.world_model.cells import BlockGRU
from dreamctl.world_model.latents import CategoricalLatent
from dreamctl.world_model.model import WorldModel, WorldModelConfig
from dreamctl.world_model.rssm import RSSM, RSSMConfig

PARTS = ("rssm", "encoder", "decoder", "reward_predictor", "continue_predictor", "actor", "critic")
# Of an agent that sees 64x64x3 images and has 17 choices: all, and each of PARTS.
SIZES = {
    "size1m": (687_875, (377_408, 14_304, 80_595, 57_663, 41_153, 50_641, 66_111)),
    "size12m": (10_498_259, (5_982_464, 220_416, 1_272_003, 721_407, 656_129, 792_337, 853_503)),
    "size25m": (23_495_475, (13_446_528, 493_824, 2_857_635, 1_573_503, 1_475_713, 1_778_321, 1_869_951)),
    "size50m": (41_658_259, (23_892_480, 876_032, 5_076_355, 2_753_279, 2_622_977, 3_157_521, 3_279_615)),
    "size100m": (93_480_531, (53_730_048, 1_966_848, 11_413_059, 6_095_871, 5_900_545, 7_095_569, 7_278_591)),
    "size200m": (165_965_075, (95_495_168, 3_492_864, 20_282_115, 10_749_183, 10_488_833, 12_606_481, 12_850_431)),
    "size400m": (372_920_979, (214_808_064, 7_850_496, 45_617_283, 23_987_967, 23_597_569, 28_346_897, 28_712_703)),
}


def image(*shape: int) -> dict[str, Space]:
    return {"image": spaces.Box(0, 255, shape, np.uint8)}


def task(observation: Mapping[str, Space], action: Space) -> TaskSpec:
    return TaskSpec(observation, action, "gym", "Sized-v0")


WALKER = task(
    {
        name: spaces.Box(-np.inf, np.inf, shape, np.float32)
        for name, shape in {"height": (), "orientations": (14,), "velocity": (9,)}.items()
    },
    spaces.Box(-1, 1, (6,), np.float32),
)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def counts(preset: str | None, spec: TaskSpec) -> dict[str, int]:
    """Learnt parameters of each part and in all."""
    values = load_preset(preset) if preset else {}
    with torch.device("meta"):
        model = WorldModel(build(WorldModelConfig, values.get("world_model", {})), spec)
        config = build(ActorCriticConfig, values.get("actor_critic", {}))
        agent = ActorCritic(config, model.state_size, ActionCodec(spec.action), model.discount)
    found = {name: count(getattr(agent if name in ("actor", "critic") else model, name)) for name in PARTS}
    return found | {"all": count(model) + count(agent)}


@pytest.mark.parametrize("preset", SIZES)
def test_every_size_has_the_official_number_of_parameters(preset: str) -> None:
    total, parts = SIZES[preset]
    assert counts(preset, task(image(64, 64, 3), spaces.Discrete(17))) == dict(zip(PARTS, parts, strict=True)) | {"all": total}


def test_without_a_preset_the_size_is_12m() -> None:
    spec = task(image(64, 64, 3), spaces.Discrete(17))
    assert counts(None, spec) == counts("size12m", spec)


def test_the_small_walker_has_the_official_number_of_parameters() -> None:
    wanted = dict(zip(PARTS, (364_416, 10_112, 51_096, 57_663, 41_153, 50_316, 66_111), strict=True))
    assert counts("size1m", WALKER) == wanted | {"all": 640_867}, "the slow critic does not learn"


@pytest.mark.parametrize(("preset", "total"), [("size12m", 11_808_850), ("size200m", 186_936_082)])
def test_a_grey_atari_screen_has_the_official_number_of_parameters(preset: str, total: int) -> None:
    assert counts(preset, task(image(96, 96, 1), spaces.Discrete(18)))["all"] == total


@pytest.mark.parametrize(("recurrent", "units", "classes"), [(512, 64, 4), (64, 16, 8)])
def test_the_recurrent_model_follows_the_closed_form(recurrent: int, units: int, classes: int) -> None:
    d, u, sc, e, a = recurrent, units, 32 * classes, 40, 6
    wanted = d * u + 2 * u + sc * u + 2 * u + a * u + 2 * u
    wanted += (d // 8 + 3 * u) * d + 2 * d + 3 * d * d // 8 + 3 * d
    wanted += d * u + 2 * u + u * u + 2 * u + u * sc + sc
    wanted += (d + e) * u + 2 * u + u * sc + sc
    with torch.device("meta"):
        assert count(RSSM(RSSMConfig(recurrent, units, BlockGRU()), CategoricalLatent(32, classes), e, a)) == wanted
