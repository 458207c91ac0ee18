import math
from dataclasses import replace

import pytest
import torch

from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import Batch
from dreamctl.nn.blocks import symlog
from dreamctl.world_model.kl import BalancedKL
from dreamctl.world_model.model import LossScales, PredictorConfig, WorldModel, WorldModelConfig
from tests.world_model.models import BOX, DISCRETE, TINY, batch, chances, start, world_model

TERMS = {"observation/body/place", "observation/height", "reward", "continue", "dynamics", "representation"}
PARTS = {"encoder", "rssm", "decoder", "reward_predictor", "continue_predictor"}
# Which parts each loss term teaches (DreamerV3: every predictor its own head, the recurrent model and the encoder).
ROUTES = {
    "observation/height": {"encoder", "rssm", "decoder"},
    "observation/body/place": {"encoder", "rssm", "decoder"},
    "reward": {"encoder", "rssm", "reward_predictor"},
    "continue": {"encoder", "rssm", "continue_predictor"},
    "dynamics": {"encoder", "rssm"},
    "representation": {"encoder", "rssm"},
}


def losses(model: WorldModel, seen: Batch) -> dict[str, torch.Tensor]:
    return model.losses(model.observe(start(model), seen, noise=chances(model, *seen.reward.shape)), seen)[0]


def test_the_keys_of_losses_and_figures_are_known() -> None:
    model = world_model()
    seen = batch(model)
    terms, figures = model.losses(model.observe(start(model), seen, noise=chances(model, 3, 5)), seen)
    assert terms.keys() == TERMS == ROUTES.keys()
    assert figures.keys() == {"kl", "posterior_entropy", "prior_entropy"}
    assert all(term.shape == (3, 5) for term in terms.values())
    assert all(figure.shape == () and not figure.requires_grad for figure in figures.values())


@pytest.mark.parametrize("term", ROUTES)
def test_each_term_teaches_its_parts_and_no_other(term: str) -> None:
    model = world_model(kl=BalancedKL(free_nats=0.0))
    losses(model, batch(model))[term].sum().backward()
    reached = {part for part in PARTS if any(p.grad is not None and p.grad.abs().max() > 0 for p in getattr(model, part).parameters())}
    assert reached == ROUTES[term]


def test_the_dynamics_term_teaches_the_prior_and_the_other_does_not() -> None:
    model = world_model(kl=BalancedKL(free_nats=0.0))
    terms = losses(model, batch(model))
    transition = list(model.rssm.transition.parameters())
    assert all(g is not None for g in torch.autograd.grad(terms["dynamics"].sum(), transition, allow_unused=True, retain_graph=True))
    assert all(g is None for g in torch.autograd.grad(terms["representation"].sum(), transition, allow_unused=True))


def test_a_fresh_model_predicts_no_reward_at_the_price_of_ln_255() -> None:
    model = world_model(reward_predictor=PredictorConfig(units=8, scale=0.0))
    torch.testing.assert_close(losses(model, batch(model))["reward"], torch.full((3, 5), math.log(255)).double())
    assert WorldModelConfig().reward_predictor.scale == 0


def test_reconstruction_is_a_sum_of_squares_in_network_units() -> None:
    model = world_model()
    for parameter in model.decoder.out.parameters():
        parameter.data.zero_()
    seen = batch(model)
    terms = losses(model, seen)
    for name, column in seen.observation.items():
        torch.testing.assert_close(terms[f"observation/{name}"], symlog(column).square().sum(-1))


def test_the_continue_label_holds_the_discount_and_only_a_terminal_ends_it() -> None:
    model = world_model()
    for parameter in model.continue_predictor.out.parameters():
        parameter.data.zero_()
    model.continue_predictor.out[0].bias.data.fill_(math.log(3))
    seen = batch(model)
    ended, terminal = torch.zeros(3, 5, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.bool)
    ended[:2, 2], terminal[0, 2] = True, True
    found = losses(model, replace(seen, is_last=ended, terminated=terminal))["continue"]
    gamma = 1 - 1 / 333
    lives = -(gamma * math.log(0.75) + (1 - gamma) * math.log(0.25))
    assert found[0, 2].item() == pytest.approx(-math.log(0.25))
    assert found[1, 2].item() == pytest.approx(lives), "the time limit is no end of the task"
    assert found[2, 2].item() == pytest.approx(lives)


def test_scales_multiply_their_terms() -> None:
    model = world_model()
    plain = losses(model, batch(model))
    model.config = replace(model.config, loss_scales=LossScales(observation=10.0, reward=2.0, continues=3.0))
    scaled = losses(model, batch(model))
    for name, factor in {"observation/height": 10, "observation/body/place": 10, "reward": 2, "continue": 3, "dynamics": 1}.items():
        torch.testing.assert_close(scaled[name], factor * plain[name])


@pytest.mark.parametrize("space", [BOX, DISCRETE], ids=["box", "discrete"])
def test_a_dream_predicts_what_its_states_say(space: object) -> None:
    model = world_model(space)
    size = ActionCodec(space).size
    rollout = model.imagine(start(model), lambda *_: torch.zeros(3, size).double(), 4, noise=chances(model, 4, 3))
    assert rollout.reward.shape == rollout.continue_prob.shape == (3, 5)
    assert rollout.action.shape == (3, 5, size)
    assert rollout.discount == 1
    features = rollout.state.features
    torch.testing.assert_close(rollout.continue_prob, model.continue_prob(features))
    torch.testing.assert_close(rollout.reward, model.config.reward_output.distribution(model.reward_predictor(features)).mean)


def test_gradients_flow_through_a_dream_to_its_start() -> None:
    model, begin = world_model(), start(world_model())
    begin.h.requires_grad_()
    model.imagine(begin, lambda *_: torch.zeros(3, 2).double(), 3, noise=chances(model, 3, 3)).reward[:, -1].sum().backward()
    assert begin.h.grad is not None
    assert begin.h.grad.abs().max() > 0


def test_reconstructions_are_in_environment_units() -> None:
    model = world_model(vectors=WorldModelConfig().vectors)
    for parameter in model.decoder.out.parameters():
        parameter.data.zero_()
    for out in model.decoder.out:
        out.bias.data.fill_(math.log(3))
    found = model.reconstruct(start(model))
    assert found["height"].shape == (3, 1)
    torch.testing.assert_close(found["body/place"], torch.full((3, 3), 2.0).double())


def test_a_model_learns_one_batch_by_heart() -> None:
    model = world_model()
    seen = batch(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = torch.stack(list(losses(model, seen).values())).sum(0).mean().item()
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.stack(list(losses(model, seen).values())).sum(0).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * before


def test_the_defaults_are_those_of_the_specification() -> None:
    config = WorldModelConfig()
    assert (config.rssm.recurrent, config.rssm.units, config.rssm.cell.blocks, config.rssm.prior_layers) == (2048, 256, 8, 2)
    assert (config.latent.groups, config.latent.classes, config.latent.unimix) == (32, 16, 0.01)
    assert (config.kl.dynamics, config.kl.representation, config.kl.free_nats) == (1.0, 0.1, 1.0)
    assert (config.encoder.layers, config.decoder.layers, config.reward_predictor.layers, config.continue_predictor.layers) == (3, 3, 1, 1)
    assert config.loss_scales == LossScales(1.0, 1.0, 1.0)
    assert config.horizon == 333
    assert TINY.horizon == 333
