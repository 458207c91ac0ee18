import math

import pytest
import torch

from dreamctl.nn.distributions import Bernoulli
from dreamctl.world_model.continues import ContinueOutput, HardContinue, NoContinue, SoftContinue
from tests.kinds import each
from tests.world_model.models import batch, chances, start, world_model

GAMMA = 0.9
TERMINATED = torch.tensor([[False, True]])


def logits(probs: list[float]) -> torch.Tensor:
    return torch.tensor(probs).double().logit().unsqueeze(-1)


@each("kind", ContinueOutput)
def test_every_continuation_speaks_of_probabilities_with_and_without_the_discount(kind: type) -> None:
    output = kind()
    params = torch.randn(2, 5, output.param_size).double()
    survival, continue_prob = output.survival(params, GAMMA), output.continue_prob(params, GAMMA)
    assert survival.shape == continue_prob.shape == (2, 5)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert ((continue_prob >= 0) & (continue_prob <= 1)).all()
    torch.testing.assert_close(continue_prob.clamp_max(GAMMA), GAMMA * survival)
    terms = output.losses(params, torch.rand(2, 5) < 0.5, GAMMA)
    assert all(term.shape == (2, 5) and (term > 0).all() for term in terms.values())


@each("kind", ContinueOutput)
def test_every_continuation_lets_weights_begin_at_a_probability(kind: type) -> None:
    output = kind()
    sure = torch.full((1, output.param_size), 60.0).double()
    weight = output.continue_prob(sure, GAMMA) / output.divisor(GAMMA)
    torch.testing.assert_close(weight, torch.ones(1).double())


@each("kind", ContinueOutput)
def test_every_continuation_dreams_with_one_discount_a_step(kind: type) -> None:
    model = world_model(continue_output=kind())
    rollout = model.imagine(start(model), lambda *_: torch.zeros(3, 2).double(), 2, noise=chances(model, 2, 3))
    features = rollout.state.features
    torch.testing.assert_close(rollout.continue_prob, model.continue_prob(features))
    assert rollout.discount == model.config.continue_output.divisor(model.discount)
    torch.testing.assert_close(rollout.continue_prob.clamp_max(model.discount), model.discount * model.survival(features))


@pytest.mark.parametrize(("output", "label"), [(SoftContinue(), GAMMA), (HardContinue(), 1.0), (HardContinue(read="mode"), 1.0)], ids=repr)
def test_labels_by_hand(output: ContinueOutput, label: float) -> None:
    found = output.losses(logits([0.75, 0.75]).unsqueeze(0), TERMINATED, GAMMA)["continue"]
    assert found[0, 0].item() == pytest.approx(-label * math.log(0.75) - (1 - label) * math.log(0.25))
    assert found[0, 1].item() == pytest.approx(-math.log(0.25))


def test_readings_by_hand() -> None:
    params = logits([0.2, 0.45, 0.6, 0.95])
    soft, hard, mode = SoftContinue(), HardContinue(), HardContinue(read="mode")
    assert soft.survival(params, GAMMA).tolist() == pytest.approx([0.2 / 0.9, 0.5, 0.6 / 0.9, 1.0])
    assert soft.continue_prob(params, GAMMA).tolist() == pytest.approx([0.2, 0.45, 0.6, 0.95])
    assert hard.survival(params, GAMMA).tolist() == pytest.approx([0.2, 0.45, 0.6, 0.95])
    assert hard.continue_prob(params, GAMMA).tolist() == pytest.approx([0.18, 0.405, 0.54, 0.855])
    assert mode.survival(params, GAMMA).tolist() == [0, 0, 1, 1]
    assert mode.continue_prob(params, GAMMA).tolist() == [0, 0, GAMMA, GAMMA]
    assert (soft.divisor(GAMMA), hard.divisor(GAMMA), mode.divisor(GAMMA)) == (1.0, GAMMA, GAMMA)


def test_without_continuation_nothing_is_learned_and_all_goes_on() -> None:
    model = world_model(continue_output=NoContinue())
    assert not list(model.continue_predictor.parameters())
    seen = batch(model)
    terms, _ = model.losses(model.observe(start(model), seen, noise=chances(model, 3, 5)), seen)
    assert "continue" not in terms
    features = torch.randn(4, model.state_size).double()
    assert (model.survival(features) == 1).all()
    assert (model.continue_prob(features) == model.discount).all()


def test_a_soft_label_is_met_by_the_discount_itself() -> None:
    params = torch.zeros(1, 1, 1).double().requires_grad_()
    for _ in range(300):
        (gradient,) = torch.autograd.grad(SoftContinue().losses(params, torch.tensor([[False]]), GAMMA)["continue"].sum(), params)
        params.data -= 5 * gradient
    assert Bernoulli(params).prob.item() == pytest.approx(GAMMA, rel=1e-3)
    assert SoftContinue().survival(params, GAMMA).item() == pytest.approx(1, rel=1e-3)
