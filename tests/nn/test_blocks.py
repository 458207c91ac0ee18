import math

import pytest
import torch

from dreamctl.nn.blocks import MLP, BlockLinear, Dense, Linear, symexp, symlog
from dreamctl.nn.style import RMSNorm


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.0, math.log(2)), (-1.0, -math.log(2)), (math.e - 1, 1.0), (1e6, math.log1p(1e6))])
def test_symlog_by_hand(x: float, y: float) -> None:
    assert symlog(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(y, abs=1e-15)
    assert symexp(torch.tensor(y, dtype=torch.float64)).item() == pytest.approx(x, rel=1e-12)


def test_symlog_is_odd_rising_and_undone_by_symexp() -> None:
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    y = symlog(x)
    torch.testing.assert_close(symexp(y), x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(symlog(-x), -y, rtol=0, atol=0)
    assert (y.diff() > 0).all()
    assert (y.abs() <= x.abs()).all()


def test_symlog_keeps_small_numbers_in_float32() -> None:
    x = torch.tensor([1e-8, -1e-8])
    torch.testing.assert_close(symlog(x), x)


def test_dense_by_hand() -> None:
    dense = Dense(2, 2)
    dense.linear.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    found = dense(torch.tensor([3.0, 2.0]))
    scale = 1 / math.sqrt((9 + 16) / 2 + RMSNorm().eps)
    wanted = [x * scale / (1 + math.exp(-x * scale)) for x in (3, 4)]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_the_norm_stays_calm_near_zero() -> None:
    assert RMSNorm().eps == 1e-4
    norm = Dense(4, 4).norm
    assert norm(torch.full((4,), 1e-6)).abs().max() < 1e-3


def test_block_linear_by_hand() -> None:
    layer = BlockLinear(4, 2, 2)
    layer.weight.data = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    layer.bias.data = torch.tensor([10.0, 20.0])
    assert layer(torch.tensor([[1.0, 1.0, 1.0, 2.0]])).tolist() == [[13.0, 31.0]]


def test_a_block_sees_its_own_inputs_only() -> None:
    torch.manual_seed(0)
    layer, x = BlockLinear(12, 8, 4), torch.randn(3, 12)
    before = layer(x)
    for block in range(4):
        changed = x.clone()
        changed[:, 3 * block : 3 * block + 3] += 1
        same = (layer(changed) == before).all(0).unflatten(0, (4, 2))
        assert same.all(1).tolist() == [other != block for other in range(4)]


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(AssertionError, match="does not divide"):
        BlockLinear(10, 8, 4)


def test_scale_zero_starts_as_the_zero_function() -> None:
    assert (Linear(5, 3, scale=0.0)(torch.randn(7, 5)) == 0).all()


def test_output_scale_scales_the_spread() -> None:
    torch.manual_seed(0)
    small, unit = Linear(64, 64, scale=0.01).weight.std(), Linear(64, 64).weight.std()
    assert (small / unit).item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_shapes(lead: tuple[int, ...]) -> None:
    x = torch.randn(*lead, 6)
    assert Dense(6, 4)(x).shape == (*lead, 4)
    assert MLP(6, 2, 8)(x).shape == (*lead, 8)
    assert MLP(6, 0, 8)(x).shape == (*lead, 6)
    assert BlockLinear(6, 4, 2)(torch.randn(3, 6)).shape == (3, 4)
