import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamctl.core.config import build, to_plain
from dreamctl.core.errors import UsageError
from dreamctl.nn.convolutions import ConvolutionLayer, Convolutions, ConvolutionStage, PooledConvolutions, StridedConvolutions, fold_kernel
from dreamctl.nn.style import LayerNorm, LayerStyle, NoNorm, RMSNorm
from tests.kinds import each


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def padded(x: Tensor, kernel: int) -> Tensor:
    """SAME for stride 1: the smaller half in front."""
    front = (kernel - 1) // 2
    back = kernel - 1 - front
    return F.pad(x, (front, back, front, back))


def plain_doubling(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(padded(F.interpolate(x, scale_factor=2, mode="nearest"), weight.shape[-1]), weight, bias)


def zeros_between(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    spread[..., 1::2, 1::2] = x
    return F.conv2d(padded(spread, weight.shape[-1]), weight, bias)


def check_equal(kind: Convolutions, plain, height: int, width: int) -> None:
    """Values and gradients, at the borders too."""
    k = kind.kernel
    x, weight, bias = random(2, 4, height, width), random(3, 4, k, k), random(3)
    found, wanted = kind.up(x, weight, bias), plain(x, weight, bias)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    upstream = torch.randn_like(wanted)
    gradients = torch.autograd.grad(found, [x, weight, bias], upstream)
    for ours, theirs in zip(gradients, torch.autograd.grad(wanted, [x, weight, bias], upstream), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("height", "width"), [(3, 3), (4, 7), (1, 2)])
def test_the_sub_pixel_form_is_nearest_doubling_and_convolution(kernel: int, height: int, width: int) -> None:
    check_equal(PooledConvolutions(kernel=kernel), plain_doubling, height, width)


@pytest.mark.parametrize("kernel", [3, 4, 5, 6])
@pytest.mark.parametrize(("height", "width"), [(3, 3), (4, 7)])
def test_strided_doubling_puts_pixels_at_odd_places_among_zeros(kernel: int, height: int, width: int) -> None:
    check_equal(StridedConvolutions(kernel=kernel), zeros_between, height, width)


def test_folded_kernel_by_hand() -> None:
    row = torch.tensor([1.0, 2, 4, 8, 16])
    weight = torch.zeros(1, 1, 5, 5)
    weight[0, 0, 2] = row  # the middle row: at even output rows it falls on tap 1, at odd ones on tap 1 too
    folded = fold_kernel(weight)
    assert folded.shape == (4, 1, 3, 3)
    even, odd = [1 + 2, 4 + 8, 16], [1, 2 + 4, 8 + 16]
    nothing = [0, 0, 0]
    assert folded[:, 0].tolist() == [[nothing, even, nothing], [nothing, odd, nothing]] * 2


def test_strided_halving_pads_one_in_front_and_two_behind() -> None:
    x = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 6, 6).contiguous()
    weight = torch.zeros(1, 1, 5, 5)
    weight[0, 0, 1, 0] = 1  # reads one to the left of the pixel
    found = StridedConvolutions().down(x, weight, None)
    assert found[0, 0].tolist() == [[0, 1, 3]] * 3


def test_pooled_halving_takes_the_greatest_of_four() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 0], x[0, 0, 2, 3], x[0, 0, 3, 3] = 5, -7, 2
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1
    assert PooledConvolutions(kernel=3).down(x, weight, torch.tensor([0.5]))[0, 0].tolist() == [[5.5, 0.5], [0.5, 2.5]]


@each("kind", Convolutions)
def test_every_kind_halves_and_doubles(kind: type) -> None:
    convolutions = kind(depth=3, multipliers=(1, 2))
    assert convolutions.channels == [3, 6]
    down = ConvolutionStage(convolutions.down, 2, 3, convolutions.kernel)
    up = ConvolutionStage(convolutions.up, 3, 2, convolutions.kernel)
    x = torch.randn(4, 6, 10, 2)
    assert down(x).shape == (4, 3, 5, 3)
    assert up(down(x)).shape == x.shape
    assert [tuple(p.shape) for p in down.parameters()] == [(3, 2, 5, 5), (3,), (3,)]


@each("kind", Convolutions)
def test_every_kind_survives_plain_values(kind: type) -> None:
    config = kind(depth=3, multipliers=(1, 2))
    assert build(kind, to_plain(config)) == config
    with pytest.raises(UsageError, match="at least one stage"):
        build(kind, {"multipliers": []}, "world_model.convolutions")
    with pytest.raises(UsageError, match="wanted one of 3"):
        build(kind, {"kernel": 2})


def test_the_norm_is_over_the_channels_of_each_place() -> None:
    stage = ConvolutionStage(PooledConvolutions().down, 2, 8, 5, LayerStyle(RMSNorm(eps=0.0), "relu"))
    x = torch.randn(3, 8, 6, 2)
    normed = stage.norm(stage.conv(x))
    torch.testing.assert_close(normed.square().mean(-1), torch.ones(3, 4, 3))
    torch.testing.assert_close(stage(x), normed.relu())


@pytest.mark.parametrize(("norm", "bias"), [(RMSNorm(), True), (NoNorm(), True), (LayerNorm(), False)], ids=["rms", "none", "layer"])
def test_a_convolution_before_a_layer_norm_has_no_bias(norm: RMSNorm | NoNorm | LayerNorm, bias: bool) -> None:
    stage = ConvolutionStage(PooledConvolutions().up, 2, 3, 5, LayerStyle(norm))
    assert (stage.conv.bias is not None) == bias
    assert stage(torch.randn(1, 2, 3, 2)).shape == (1, 4, 6, 3)


def test_initial_kernels_have_unit_gain() -> None:
    weight = ConvolutionLayer(PooledConvolutions().down, 16, 64, 5).weight
    assert weight.std().item() == pytest.approx(0.8796 * 1.1368 * (16 * 25) ** -0.5, rel=0.02)
