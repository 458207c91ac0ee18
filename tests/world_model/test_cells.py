import math

import pytest
import torch
from torch import Tensor, nn

from dreamctl.nn.blocks import DEFAULT_STYLE
from dreamctl.nn.style import LayerStyle, NoNorm
from dreamctl.world_model.cells import BlockGRU, Cell, NormGRU, PlainGRU, SequenceModel
from tests.kinds import each

D, U, Z, A, N = 16, 8, 6, 2, 3
PLAIN = LayerStyle(norm=NoNorm(), activation="relu")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def network(cell: Cell, style: LayerStyle = DEFAULT_STYLE) -> SequenceModel:
    return cell.module(D, U, Z, A, style=style).double()


def step(model: SequenceModel, h: Tensor, z: Tensor, action: Tensor) -> Tensor:
    weights = model.weights()
    return model(h, z, model.action_inputs(action, weights), weights)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return tuple((2 * torch.rand(N, size).double() - 1).requires_grad_() for size in (D, Z, A))


@each("kind", Cell)
@pytest.mark.parametrize("style", [DEFAULT_STYLE, PLAIN], ids=["normed", "plain"])
def test_every_cell_moves_by_all_that_it_is_given_and_learns_everywhere(kind: type, style: LayerStyle) -> None:
    model, given = network(kind(), style), inputs()
    h = step(model, *given)
    assert h.shape == (N, D)
    assert h.isfinite().all()
    h.square().sum().backward()
    assert all(leaf.grad is not None and (leaf.grad != 0).any() for leaf in given)
    assert all(parameter.grad is not None and (parameter.grad != 0).any() for parameter in model.parameters())


@each("kind", Cell)
def test_every_cell_keeps_the_state_bounded(kind: type) -> None:
    model, (h, z, action) = network(kind()), inputs()
    for parameter in model.parameters():
        parameter.data.mul_(10)
    for scale in (0.5, 1.0, 7.0):
        assert (step(model, scale * h, z, action).abs() <= (scale * h).abs().clamp_min(1.0) + 1e-12).all()


@each("kind", Cell)
def test_every_cell_takes_in_the_actions_of_many_steps_at_once(kind: type) -> None:
    model, (h, z, action) = network(kind()), inputs()
    weights = model.weights()
    at_once = model.action_inputs(torch.cat([action, -action]), weights)
    torch.testing.assert_close(at_once[N:], model.action_inputs(-action, weights))
    torch.testing.assert_close(model(h, z, at_once[:N], weights), step(model, h, z, action))


@pytest.mark.parametrize(("cell", "share"), [(BlockGRU(4), sigmoid(1)), (NormGRU(), sigmoid(1)), (PlainGRU(), 0.5)])
def test_zero_weights_keep_a_known_share_of_the_state(cell: Cell, share: float) -> None:
    model, (h, z, action) = network(cell), inputs()
    for parameter in model.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(step(model, h, z, action), share * h)


@pytest.mark.parametrize(
    ("cell", "clips"), [(BlockGRU(4), True), (NormGRU(), True), (NormGRU(clip_actions=False), False), (PlainGRU(), False)], ids=repr
)
def test_actions_beyond_one_count_as_one_where_the_cell_says_so(cell: Cell, clips: bool) -> None:
    model, (h, z, _) = network(cell), inputs()
    far, near = torch.tensor([[3.0, -7.0]]).double().expand(N, A), torch.tensor([[1.0, -1.0]]).double().expand(N, A)
    far = far.clone().requires_grad_()
    assert torch.allclose(step(model, h, z, far), step(model, h, z, near)) == clips
    (gradient,) = torch.autograd.grad(step(model, h, z, far).sum(), far)
    assert (gradient != 0).all(), "clipped or not, an action keeps its gradient"
    assert not torch.allclose(step(model, h, z, near), step(model, h, z, 0.5 * near))


def one_number(cell: Cell) -> SequenceModel:
    """One number for each of h, z, a and x, and x = max(0, z + 2a + ½)."""
    model = cell.module(1, 1, 1, 1, style=PLAIN).double()
    fill(model.input.linear.weight, [[1.0, 2.0]])
    fill(model.input.linear.bias, [0.5])
    return model


def fill(parameter: nn.Parameter, values: list[object]) -> None:
    parameter.data.copy_(torch.tensor(values))


def test_norm_gru_by_hand() -> None:
    model = one_number(NormGRU(bias=True, eps=0.5, clip_actions=False))
    fill(model.gates.weight, [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # on [h, x]
    fill(model.gates.bias, [0.0, 0.0, 1.0])
    fill(model.gates_norm.weight, [1.0, 2.0, 1.0])
    fill(model.gates_norm.bias, [0.0, 0.0, 0.25])
    h, z, action = 0.5, 1.0, 3.0
    x = 1 + 2 * 3 + 0.5
    raw = [h, 2 * x, h + x + 1]
    mean = sum(raw) / 3
    spread = math.sqrt(sum((number - mean) ** 2 for number in raw) / 3 + 0.5)
    reset, candidate, update = ((number - mean) / spread for number in raw)
    candidate = math.tanh(sigmoid(reset) * 2 * candidate)
    taken = sigmoid(update + 0.25 - 1)
    found = step(model, *(torch.tensor([[number]]).double() for number in (h, z, action)))
    assert found.item() == pytest.approx(taken * candidate + (1 - taken) * h)


def test_plain_gru_by_hand() -> None:
    model = one_number(PlainGRU())
    fill(model.gru.weight_ih, [[0.1], [0.2], [0.3]])
    fill(model.gru.weight_hh, [[1.0], [-1.0], [2.0]])
    fill(model.gru.bias_ih, [0.0, 0.5, 0.0])
    fill(model.gru.bias_hh, [0.0, 0.0, -1.0])
    h, x = 0.5, 1 - 2 * 0.25 + 0.5
    reset, keep = sigmoid(0.1 * x + h), sigmoid(0.2 * x - h + 0.5)
    candidate = math.tanh(0.3 * x + reset * (2 * h - 1))
    found = step(model, *(torch.tensor([[number]]).double() for number in (h, 1.0, -0.25)))
    assert found.item() == pytest.approx((1 - keep) * candidate + keep * h)


def test_a_layer_norm_takes_the_place_of_the_bias_before_it() -> None:
    names = {name for name, _ in network(NormGRU()).named_parameters()}
    assert "gates.bias" not in names
    assert "gates_norm.bias" in names
    assert network(NormGRU(bias=True)).gates.bias is not None


@each("kind", Cell)
@pytest.mark.parametrize("style", [DEFAULT_STYLE, PLAIN], ids=["normed", "plain"])
def test_every_cell_carries_full_precision_under_autocast(kind: type, style: LayerStyle) -> None:
    model = network(kind(), style).float()
    h, z, action = (leaf.detach().float() for leaf in inputs())
    with torch.autocast("cpu", torch.bfloat16):
        found = step(model, h, z, action)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, step(model, h, z, action), rtol=0, atol=0.02)
