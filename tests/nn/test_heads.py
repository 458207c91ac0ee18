import pytest
import torch

from dreamctl.nn.actions import ActionOutput, BoundedNormal, CategoricalAction
from dreamctl.nn.distributions import one_hot
from dreamctl.nn.heads import Head
from dreamctl.nn.scalars import ScalarOutput, SquaredError, SymexpTwoHot
from tests.kinds import each


@each("kind", ScalarOutput)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_every_scalar_kind_reads_what_it_asks_for(kind: type, lead: tuple[int, ...]) -> None:
    output = kind()
    scalar = output.distribution(torch.randn(*lead, output.param_size))
    assert scalar.mean.shape == scalar.loss(torch.randn(lead)).shape == lead


@each("kind", ScalarOutput)
def test_every_scalar_kind_predicts_zero_from_zeros_and_is_taught_by_its_loss(kind: type) -> None:
    output = kind()
    params = torch.zeros(2, 4, output.param_size, requires_grad=True)
    scalar = output.distribution(params)
    assert (scalar.mean == 0).all()
    assert scalar.first(3).mean.shape == (2, 3)
    scalar.loss(torch.full((2, 4), 2.0)).sum().backward()
    assert params.grad is not None
    better = output.distribution(params.detach() - 0.1 * params.grad)
    assert (better.mean > 0).all()
    assert (better.loss(torch.full((2, 4), 2.0)) < scalar.loss(torch.full((2, 4), 2.0))).all()


@each("kind", ScalarOutput)
def test_every_scalar_kind_computes_in_full_precision(kind: type) -> None:
    output = kind()
    assert output.distribution(torch.zeros(3, output.param_size, dtype=torch.bfloat16)).mean.dtype == torch.float32


def test_squared_error_by_hand() -> None:
    assert SquaredError().distribution(torch.tensor([[1.5]])).loss(torch.tensor([3.0])).tolist() == [2.25]


def test_two_hot_options_choose_the_bins() -> None:
    output = SymexpTwoHot(bins=5, limit=1.0)
    assert output.param_size == 5
    bins = output.distribution(torch.zeros(5)).bins
    torch.testing.assert_close(bins[-1], torch.expm1(torch.tensor(1.0)))


@each("kind", ActionOutput)
@pytest.mark.parametrize("lead", [(4,), (2, 3)])
def test_every_action_kind_samples_and_scores(kind: type, lead: tuple[int, ...]) -> None:
    output, size = kind(), 3
    params = torch.randn(*lead, sum(output.param_sizes(size)))
    belief = output.distribution(params)
    noise = output.noise(lead, size, torch.Generator().manual_seed(0))
    action = belief.sample(noise)
    assert action.shape == belief.mode.shape == (*lead, size)
    assert belief.log_prob(action).shape == belief.entropy().shape == lead
    assert (belief.log_prob(belief.mode) >= belief.log_prob(action) - 1e-6).all()
    assert (action == belief.sample(output.noise(lead, size, torch.Generator().manual_seed(0)))).all()


@each("kind", ActionOutput)
def test_every_action_kind_lets_the_entropy_be_estimated_from_samples(kind: type) -> None:
    output = kind()
    belief = output.distribution(torch.randn(sum(output.param_sizes(3))).double().expand(20_000, -1))
    noise = output.noise((20_000,), 3, torch.Generator().manual_seed(0)).double()
    found = -belief.log_prob(belief.sample(noise)).mean()
    torch.testing.assert_close(found, belief.entropy()[0], rtol=0.03, atol=0.03)


def test_bounded_normal_by_hand() -> None:
    normal = BoundedNormal().distribution(torch.zeros(6))
    assert normal.mean.tolist() == [0, 0, 0]
    torch.testing.assert_close(normal.std, torch.full((3,), 0.8927), atol=1e-4, rtol=0)


def test_bounded_normal_stays_within_its_bounds() -> None:
    kind = BoundedNormal()
    normal = kind.distribution(100 * torch.randn(500, 4).double())
    assert (normal.mean.abs() <= 1).all()
    assert (normal.std >= 0.1).all()
    assert (normal.std <= 1.0).all()
    low, high = (kind.distribution(torch.tensor([0.0, 0.0, raw, raw])).entropy() for raw in (-100.0, 100.0))
    assert (normal.entropy() >= low - 1e-5).all()
    assert (normal.entropy() <= high + 1e-5).all()


@pytest.mark.parametrize(("unimix", "least"), [(0.0, 0.0), (0.01, 0.01 / 4)])
def test_an_actor_mixes_as_much_as_it_is_told(unimix: float, least: float) -> None:
    belief = CategoricalAction(unimix).distribution(torch.tensor([-500.0, 500.0, 0.0, 0.0]))
    rarest = belief.log_prob(one_hot(torch.tensor(0), torch.zeros(4))).exp().item()
    assert rarest == pytest.approx(least, abs=1e-9)


def test_a_head_keeps_a_tensor_for_each_quantity() -> None:
    head = Head(6, 3, 2, layers=1, units=8)
    assert [tuple(out.weight.shape) for out in head.out] == [(3, 8), (2, 8)]
    features = torch.randn(5, 7, 6)
    hidden = head.mlp(features)
    torch.testing.assert_close(head(features), torch.cat([head.out[0](hidden), head.out[1](hidden)], -1))


def test_a_head_without_layers_is_linear() -> None:
    head = Head(6, 3, layers=0, units=8)
    x, y = torch.randn(2, 6)
    torch.testing.assert_close(head(x + y), head(x) + head(y) - head(torch.zeros(6)))


def test_scale_zero_predicts_zero_whatever_is_seen() -> None:
    assert (Head(6, 255, layers=1, units=8, scale=0.0)(torch.randn(4, 6)) == 0).all()
