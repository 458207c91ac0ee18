import math

import pytest
import torch
from torch import Tensor

from dreamctl.nn.distributions import Bernoulli, Normal, OneHot, TwoHot, even_bins, inverse_cdf, one_hot, symexp_bins

BINS = symexp_bins(255)


def two_hot_target(target: Tensor) -> Tensor:
    """The dense target (..., 255) whose two numbers `neighbours` names."""
    below, above, weight = TwoHot(torch.zeros(*target.shape, 255).double(), BINS).neighbours(target)
    return one_hot(below, BINS) * (1 - weight).unsqueeze(-1) + one_hot(above, BINS) * weight.unsqueeze(-1)


# One-hot variables.


@pytest.mark.parametrize(("uniform", "index"), [(0.0, 0), (0.19, 0), (0.2, 1), (0.49, 1), (0.5, 2), (0.999, 2), (1.0, 2)])
def test_inverse_cdf_by_hand(uniform: float, index: int) -> None:
    drawn = inverse_cdf(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), torch.tensor(uniform, dtype=torch.float64))
    assert drawn.tolist() == [float(i == index) for i in range(3)]


def test_a_cumulative_sum_that_rounds_below_the_noise_draws_the_last_class() -> None:
    probs = torch.full((7,), 1 / 7 - 1e-6)
    assert inverse_cdf(probs, torch.tensor(0.9999999)).tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_draws_follow_the_probabilities() -> None:
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    share = inverse_cdf(torch.tensor([0.1, 0.6, 0.3]).expand(20_000, 3), uniform).mean(0)
    torch.testing.assert_close(share, torch.tensor([0.1, 0.6, 0.3]), atol=0.01, rtol=0)


@pytest.mark.parametrize("unimix", [0.0, 0.01, 0.5])
def test_unimix_keeps_every_class_possible(unimix: float) -> None:
    one = OneHot(torch.tensor([[0.0, 60.0, -60.0, 3.0]]).double(), unimix)
    assert one.probs.sum().item() == pytest.approx(1)
    assert one.probs.min() >= unimix / 4 - 1e-12


def test_entropy_and_kl_by_hand() -> None:
    half, quarter = OneHot(torch.tensor([[0.0, 0.0]])), OneHot(torch.tensor([[0.0, math.log(3)]]))
    assert half.entropy().item() == pytest.approx(math.log(2))
    assert half.kl(quarter).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-5)
    assert half.log_prob(torch.tensor([[1.0, 0.0]])).item() == pytest.approx(-math.log(2))


def test_groups_are_summed() -> None:
    logits, other = torch.randn(2, 5, 3, 4).double()
    one, two = OneHot(logits, 0.01), OneHot(other, 0.01)
    groups = range(3)
    torch.testing.assert_close(one.kl(two), sum(OneHot(logits[:, [s]], 0.01).kl(OneHot(other[:, [s]], 0.01)) for s in groups))
    torch.testing.assert_close(one.entropy(), sum(OneHot(logits[:, [s]], 0.01).entropy() for s in groups))


def test_kl_is_zero_for_equals_positive_otherwise_and_finite_when_saturated() -> None:
    logits = torch.randn(50, 3, 4).double()
    one = OneHot(logits, 0.01)
    assert (one.kl(OneHot(logits, 0.01)) == 0).all()
    assert (one.kl(OneHot(logits.flip(0), 0.01)) > 0).all()
    hot = torch.full((1, 4), -60.0)
    left, right = hot.clone(), hot.clone()
    left[0, 0], right[0, 1] = 60.0, 60.0
    assert OneHot(left, 0.01).kl(OneHot(right, 0.01)).isfinite()


def test_mode_is_the_likeliest_class() -> None:
    assert OneHot(torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 0.0]])).mode.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_samples_are_one_hot_and_their_gradient_sums_to_zero_in_each_group() -> None:
    logits = torch.randn(6, 3, 4, requires_grad=True)
    sample = OneHot(logits, 0.01).sample(torch.rand(6, 3))
    assert set(sample.detach().unique().tolist()) == {0.0, 1.0}
    assert (sample.sum(-1) == 1).all()
    (sample * torch.randn(6, 3, 4)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() > 0
    torch.testing.assert_close(logits.grad.sum(-1), torch.zeros(6, 3), atol=1e-6, rtol=0)


def test_the_straight_through_gradient_is_that_of_the_probabilities() -> None:
    logits, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4)
    (through,) = torch.autograd.grad((OneHot(logits, 0.01).sample(torch.rand(2, 3)) * weight).sum(), logits)
    (direct,) = torch.autograd.grad((OneHot(logits, 0.01).probs * weight).sum(), logits)
    torch.testing.assert_close(through, direct)


def test_half_precision_logits_are_read_in_float32() -> None:
    assert OneHot(torch.zeros(1, 4, dtype=torch.bfloat16)).probs.dtype == torch.float32
    assert Bernoulli(torch.zeros(2, dtype=torch.float16)).prob.dtype == torch.float32


# Scalars.


def test_bins_are_antisymmetric_rising_and_symexp_spaced() -> None:
    assert len(BINS) == 255
    assert BINS[127] == 0
    assert (-BINS.flip(0) == BINS).all()
    assert (BINS.diff() > 0).all()
    assert BINS[-1].item() == pytest.approx(math.expm1(20))
    assert BINS[128].item() == pytest.approx(math.expm1(20 / 127))


def test_two_hot_by_hand() -> None:
    logits = torch.tensor([0.0, 0.0, math.log(2)], dtype=torch.float64)
    scalar = TwoHot(logits, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    assert scalar.mean.item() == pytest.approx(0.25)
    wanted = {0.0: math.log(4), 1.0: math.log(2), 0.25: 0.75 * math.log(4) + 0.25 * math.log(2), 9.0: math.log(2), -9.0: math.log(4)}
    for target, loss in wanted.items():
        assert scalar.loss(torch.tensor(target, dtype=torch.float64)).item() == pytest.approx(loss), target


def test_two_hot_mean_returns_the_scalar() -> None:
    target = torch.cat([torch.linspace(-30, 30, 401), torch.tensor([1e7, -1e9, 1e9, 0.0, -1e-9])]).double()
    dense = two_hot_target(target)
    torch.testing.assert_close((dense * BINS).sum(-1), target.clamp(BINS[0], BINS[-1]), rtol=1e-9, atol=1e-9)
    assert (dense >= 0).all()
    torch.testing.assert_close(dense.sum(-1), torch.ones_like(target))
    places = dense.nonzero()
    counts = torch.bincount(places[:, 0])
    assert counts.max() <= 2
    for row in (counts == 2).nonzero().flatten().tolist():
        first, second = places[places[:, 0] == row, 1].tolist()
        assert second == first + 1, "the two bins are neighbours"


def test_a_target_on_a_bin_takes_that_bin_alone() -> None:
    assert (two_hot_target(BINS) == torch.eye(255)).all()


def test_a_fresh_scalar_predicts_zero_and_costs_ln_255() -> None:
    for bins in (BINS, BINS.float()):
        scalar = TwoHot(torch.zeros(4, 255).to(bins), bins)
        assert (scalar.mean == 0).all()
        losses = scalar.loss(torch.tensor([0.0, 1.0, -37.2, 1e6]).to(bins))
        torch.testing.assert_close(losses, torch.full((4,), math.log(255)).to(bins))


def test_two_hot_gradient_is_softmax_minus_target() -> None:
    logits = torch.randn(9, 255, dtype=torch.float64, requires_grad=True)
    target = torch.linspace(-50, 50, 9).double()
    TwoHot(logits, BINS).loss(target).sum().backward()
    torch.testing.assert_close(logits.grad, torch.softmax(logits.detach(), -1) - two_hot_target(target))


def test_first_steps_of_a_two_hot() -> None:
    scalar = TwoHot(torch.randn(2, 5, 255).double(), BINS)
    torch.testing.assert_close(scalar.first(3).mean, scalar.mean[:, :3])


@pytest.mark.parametrize(("logit", "target", "loss"), [(0.0, 1.0, math.log(2)), (0.0, 0.3, math.log(2)), (math.log(3), 0.0, math.log(4))])
def test_bernoulli_by_hand(logit: float, target: float, loss: float) -> None:
    assert Bernoulli(torch.tensor(logit)).loss(torch.tensor(target)).item() == pytest.approx(loss)


# Normals.


def test_normal_by_hand() -> None:
    normal = Normal(torch.tensor([1.0, 0.0]).double(), torch.tensor([2.0, 1.0]).double())
    wanted = -(0.5 * 1 + math.log(2) + 0.5 * math.log(2 * math.pi)) - (0.5 * 4 + 0.5 * math.log(2 * math.pi))
    assert normal.log_prob(torch.tensor([3.0, -2.0]).double()).item() == pytest.approx(wanted)
    assert normal.entropy().item() == pytest.approx(math.log(2) + math.log(2 * math.pi * math.e))
    assert normal.sample(torch.tensor([1.0, -3.0]).double()).tolist() == [3.0, -3.0]
    assert normal.mode.tolist() == [1.0, 0.0]


def test_divergence_of_normals_by_hand() -> None:
    one = Normal(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[2.0, 1.0]]).double())
    two = Normal(torch.tensor([[4.0, 0.0]]).double(), torch.tensor([[0.5, 3.0]]).double())
    wanted = 0.5 * (16 + 36 + 2 * math.log(0.5) - 2 * math.log(2) - 1) + 0.5 * (1 / 9 + 2 * math.log(3) - 1)
    assert one.kl(two).item() == pytest.approx(wanted)
    assert one.kl(one).item() == 0


def test_a_sample_of_a_normal_teaches_mean_and_spread() -> None:
    mean, std = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    Normal(mean, std).sample(torch.tensor([2.0, -3.0])).sum().backward()
    assert mean.grad.tolist() == [1, 1]
    assert std.grad.tolist() == [2, -3]


@pytest.mark.parametrize("count", [2, 5, 255])
def test_even_bins_are_antisymmetric_and_evenly_spaced(count: int) -> None:
    bins = even_bins(count, 3.0)
    assert len(bins) == count
    assert (bins.flip(0) == -bins).all()
    assert bins[-1] == 3
    torch.testing.assert_close(bins.diff(), torch.full((count - 1,), 6 / (count - 1)).double())
