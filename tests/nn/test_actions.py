import math

import pytest
import torch

from dreamctl.core.parts import Choices, Numbers, Part
from dreamctl.nn.actions import ActionOutput, BoundedNormal, CategoricalAction, ContinuousAction, TanhNormalAction, TruncatedNormalAction
from dreamctl.nn.distributions import one_hot
from tests.kinds import each

close = torch.testing.assert_close


def part_of(kind: type) -> Part:
    """A part that the kind reads, of six numbers."""
    return Choices(2, 3) if kind is CategoricalAction else Numbers(6)


@each("kind", ActionOutput)
@pytest.mark.parametrize("lead", [(4,), (2, 3)])
def test_every_action_kind_samples_and_scores(kind: type, lead: tuple[int, ...]) -> None:
    output, part = kind(), part_of(kind)
    belief = output.distribution(torch.randn(*lead, sum(output.param_sizes(part))), part)
    noise = output.noise(lead, part, torch.Generator().manual_seed(0))
    assert noise.shape == (*lead, output.noise_size(part))
    action = belief.sample(noise)
    assert action.shape == belief.mode.shape == (*lead, 6)
    assert belief.log_prob(action).shape == belief.entropy().shape == lead
    assert (action == belief.sample(output.noise(lead, part, torch.Generator().manual_seed(0)))).all()


@each("kind", ActionOutput)
def test_every_action_kind_lets_the_entropy_be_estimated_from_samples(kind: type) -> None:
    output, part = kind(), part_of(kind)
    belief = output.distribution(torch.randn(sum(output.param_sizes(part))).double().expand(20_000, -1), part)
    noise = output.noise((20_000,), part, torch.Generator().manual_seed(0)).double()
    found = -belief.log_prob(belief.sample(noise)).mean()
    close(found, belief.entropy()[0], rtol=0.03, atol=0.03)


@each("kind", ActionOutput)
def test_every_action_kind_is_taught_through_its_samples(kind: type) -> None:
    """What a policy needs that is trained through the dynamics."""
    output, part = kind(), part_of(kind)
    params = torch.randn(5, sum(output.param_sizes(part))).double().requires_grad_()
    action = output.distribution(params, part).sample(output.noise((5,), part, torch.Generator().manual_seed(0)).double())
    (action * torch.randn(5, 6).double()).sum().backward()
    assert params.grad is not None
    assert (params.grad != 0).any(0).all()


@each("kind", ContinuousAction)
def test_densities_integrate_to_one_and_entropies_are_their_integrals(kind: type) -> None:
    """On a grid over what the kind can give; a squashed one on the grid's image, so that its steep ends are met."""
    output, part = kind(), Numbers(1)
    belief = output.distribution(torch.tensor([0.4, -0.3]).double(), part)
    x = torch.linspace(-30, 30, 200_001).double()
    x = {BoundedNormal: x, TruncatedNormalAction: x.clamp(-1, 1), TanhNormalAction: (0.6 * x).tanh()}[kind].unique()
    log_prob = belief.log_prob(x.unsqueeze(-1))
    close(torch.trapezoid(log_prob.exp(), x), torch.ones(()).double(), rtol=1e-3, atol=0)
    close(torch.trapezoid(-log_prob.exp() * log_prob, x), belief.entropy(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("kind", [CategoricalAction, BoundedNormal, TruncatedNormalAction], ids=lambda kind: kind.kind)
def test_the_mode_is_the_likeliest_action(kind: type) -> None:
    output, part = kind(), part_of(kind)
    belief = output.distribution(torch.randn(50, sum(output.param_sizes(part))), part)
    action = belief.sample(output.noise((50,), part, torch.Generator().manual_seed(0)))
    assert (belief.log_prob(belief.mode) >= belief.log_prob(action) - 1e-6).all()


def test_bounded_normal_by_hand() -> None:
    normal = BoundedNormal().distribution(torch.zeros(6), Numbers(3))
    assert normal.mean.tolist() == [0, 0, 0]
    close(normal.std, torch.full((3,), 0.8927), atol=1e-4, rtol=0)


def test_bounded_normal_stays_within_its_bounds() -> None:
    kind, part = BoundedNormal(), Numbers(4)
    normal = kind.distribution(100 * torch.randn(500, 8).double(), part)
    assert (normal.mean.abs() <= 1).all()
    assert (normal.std >= 0.1).all()
    assert (normal.std <= 1.0).all()
    low, high = (kind.distribution(torch.tensor([0.0] * 4 + [raw] * 4), part).entropy() for raw in (-100.0, 100.0))
    assert (normal.entropy() >= low - 1e-5).all()
    assert (normal.entropy() <= high + 1e-5).all()


def test_truncated_normal_by_hand() -> None:
    """Raw zeros: mean 0, standard deviation 1.1; cut at ±1, a mass of erf(1 / (1.1 √2)) is left."""
    belief = TruncatedNormalAction().distribution(torch.zeros(2).double(), Numbers(1))
    mass = math.erf(1 / (1.1 * math.sqrt(2)))
    density = math.exp(-0.5 * (0.5 / 1.1) ** 2) / (1.1 * math.sqrt(2 * math.pi)) / mass
    assert belief.log_prob(torch.tensor([0.5]).double()).item() == pytest.approx(math.log(density))
    assert belief.sample(torch.tensor([0.5]).double()).item() == pytest.approx(0.0, abs=1e-12)
    wide = TruncatedNormalAction().distribution(torch.tensor([0.3, 2.0]).double(), Numbers(1))
    assert (wide.mean.item(), wide.std.item()) == pytest.approx((math.tanh(0.3), 2 / (1 + math.exp(-1)) + 0.1))


@pytest.mark.parametrize("kind", [TruncatedNormalAction, TanhNormalAction], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_of_bounded_kinds_stay_inside_and_all_figures_finite(kind: type, dtype: torch.dtype) -> None:
    output, part = kind(), Numbers(3)
    params = (50 * torch.randn(2000, 6, dtype=dtype)).requires_grad_()
    belief = output.distribution(params, part)
    noise = output.noise((2000,), part, torch.Generator().manual_seed(0)).to(dtype)
    noise[:10] = 0
    action = belief.sample(noise)
    assert action.abs().max() <= 1
    total = action.sum() + belief.log_prob(action.detach()).sum() + belief.entropy().sum()
    assert total.isfinite()
    total.backward()
    assert params.grad is not None
    assert params.grad.isfinite().all()


def test_tanh_normal_by_hand() -> None:
    """Raw zeros: mean 0, standard deviation 5; the density of 0.5 is that of atanh 0.5 over the slope 1 - 0.25."""
    belief = TanhNormalAction().distribution(torch.zeros(2).double(), Numbers(1))
    std, y = 5 + 1e-4, math.atanh(0.5)
    density = math.exp(-0.5 * (y / std) ** 2) / (std * math.sqrt(2 * math.pi)) / 0.75
    assert belief.log_prob(torch.tensor([0.5]).double()).item() == pytest.approx(math.log(density))
    assert belief.sample(torch.tensor([0.1]).double()).item() == pytest.approx(math.tanh(0.1 * std))
    assert TanhNormalAction().distribution(torch.tensor([100.0, 0.0]), Numbers(1)).mode.item() == pytest.approx(math.tanh(5.0))


@pytest.mark.parametrize(("unimix", "least"), [(0.0, 0.0), (0.01, 0.01 / 4)])
def test_an_actor_mixes_as_much_as_it_is_told(unimix: float, least: float) -> None:
    belief = CategoricalAction(unimix).distribution(torch.tensor([-500.0, 500.0, 0.0, 0.0]), Choices(1, 4))
    rarest = belief.log_prob(one_hot(torch.tensor(0), torch.zeros(4))).exp().item()
    assert rarest == pytest.approx(least, abs=1e-9)


def test_groups_of_choices_are_independent() -> None:
    """Two groups of three: probabilities multiply, entropies add, by hand from the logits."""
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.0, 0.0]).double()
    belief = CategoricalAction().distribution(logits, Choices(2, 3))
    one, two = logits[:3].softmax(0), logits[3:].softmax(0)
    action = torch.tensor([0, 0, 1, 1, 0, 0]).double()
    close(belief.log_prob(action), one[2].log() + two[0].log())
    close(belief.entropy(), -(one * one.log()).sum() - (two * two.log()).sum())
    assert belief.mode.tolist() == [0, 0, 1, 1, 0, 0]
