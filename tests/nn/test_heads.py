import math

import pytest
import torch

from dreamctl.nn.heads import Head, NoHead
from dreamctl.nn.scalars import ScalarOutput, SquaredError, SymexpTwoHot, SymlogSquaredError, SymlogTwoHot, UnitNormal
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


@pytest.mark.parametrize(
    ("output", "params", "mean", "loss"),
    [
        (UnitNormal(), [1.5], 1.5, 0.5 * 2.25 + 0.5 * math.log(2 * math.pi)),
        (SymlogSquaredError(), [math.log(3)], 2.0, math.log(4 / 3) ** 2),
        # Bins at -1, 0 and 1 in symlog space; symlog(3) lies beyond the last.
        (SymlogTwoHot(bins=3, limit=1.0), [0.0, 0.0, math.log(2)], math.exp(0.25) - 1, math.log(2)),
        # Bins at -2, 0 and 2: symlog(3) = ln 4 lies ½ ln 4 of the way up to 2.
        (SymlogTwoHot(bins=3, limit=2.0), [0.0, 0.0, math.log(2)], math.exp(0.5) - 1, math.log(4) - math.log(2) * math.log(4) / 2),
    ],
    ids=repr,
)
def test_predicted_scalars_by_hand(output: ScalarOutput, params: list[float], mean: float, loss: float) -> None:
    scalar = output.distribution(torch.tensor([params]).double())
    assert scalar.mean.tolist() == pytest.approx([mean])
    assert scalar.loss(torch.tensor([3.0]).double()).tolist() == pytest.approx([loss])


@pytest.mark.parametrize("output", [SymlogSquaredError(), SymlogTwoHot(), SymexpTwoHot()], ids=lambda output: output.kind)
def test_symlog_kinds_stay_finite_for_any_reward(output: ScalarOutput) -> None:
    params = torch.randn(3, output.param_size, requires_grad=True)
    loss = output.distribution(params).loss(torch.tensor([1e6, -1e6, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert loss.max() < 1e3
    assert params.grad.isfinite().all()


def test_two_hot_options_choose_the_bins() -> None:
    output = SymexpTwoHot(bins=5, limit=1.0)
    assert output.param_size == 5
    bins = output.distribution(torch.zeros(5)).bins
    torch.testing.assert_close(bins[-1], torch.expm1(torch.tensor(1.0)))


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


def test_no_head_emits_nothing_and_learns_nothing() -> None:
    assert NoHead()(torch.randn(4, 6)).shape == (4, 0)
    assert not list(NoHead().parameters())
