import numpy as np
import pytest
from gymnasium import spaces

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import TaskSpec
from dreamctl.world_model.decoder import DecoderConfig
from dreamctl.world_model.encoder import EncoderConfig
from dreamctl.world_model.latents import CategoricalLatent
from dreamctl.world_model.model import PredictorConfig, WorldModel, WorldModelConfig
from dreamctl.world_model.rssm import RSSMConfig

WALKER = TaskSpec(
    {
        name: spaces.Box(-np.inf, np.inf, shape, np.float32)
        for name, shape in {"height": (), "orientations": (14,), "velocity": (9,)}.items()
    },
    spaces.Box(-1, 1, (6,), np.float32),
    "dmc",
    "walker_walk",
)


def sized(recurrent: int, units: int, classes: int) -> tuple[WorldModelConfig, ActorCriticConfig]:
    one = PredictorConfig(1, units)
    model = WorldModelConfig(
        rssm=RSSMConfig(recurrent, units),
        latent=CategoricalLatent(32, classes),
        encoder=EncoderConfig(3, units),
        decoder=DecoderConfig(3, units),
        reward_predictor=one,
        continue_predictor=one,
    )
    return model, ActorCriticConfig(actor=NetworkConfig(3, units), critic=NetworkConfig(3, units))


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_the_small_walker_has_the_official_number_of_parameters() -> None:
    config, agent_config = sized(512, 64, 4)
    model = WorldModel(config, WALKER)
    agent = ActorCritic(agent_config, model.state_size, ActionCodec(WALKER.action), model.discount)
    parts = {name: count(getattr(model, name)) for name in ("rssm", "encoder", "decoder", "reward_predictor", "continue_predictor")}
    parts |= {"actor": count(agent.actor), "critic": count(agent.critic)}
    assert parts == {
        "rssm": 364_416,
        "encoder": 10_112,
        "decoder": 51_096,
        "reward_predictor": 57_663,
        "continue_predictor": 41_153,
        "actor": 50_316,
        "critic": 66_111,
    }
    assert count(model) + count(agent) == 640_867, "the slow critic does not learn"


@pytest.mark.parametrize(("recurrent", "units", "classes"), [(512, 64, 4), (64, 16, 8)])
def test_the_recurrent_model_follows_the_closed_form(recurrent: int, units: int, classes: int) -> None:
    d, u, sc, e, a = recurrent, units, 32 * classes, units, 6
    wanted = d * u + 2 * u + sc * u + 2 * u + a * u + 2 * u
    wanted += (d // 8 + 3 * u) * d + 2 * d + 3 * d * d // 8 + 3 * d
    wanted += d * u + 2 * u + u * u + 2 * u + u * sc + sc
    wanted += (d + e) * u + 2 * u + u * sc + sc
    assert count(WorldModel(sized(recurrent, units, classes)[0], WALKER).rssm) == wanted
