import copy

import pytest
import torch
from torch import nn

from dreamctl.nn.optim import LaProp, Optimizer, blend_, clip_by_norm_ratio
from tests.kinds import each


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2).double()), nn.Parameter(torch.randn(4).double())]


def give(group: list[nn.Parameter], seed: int, scale: float = 1.0) -> None:
    noise = torch.Generator().manual_seed(seed)
    for parameter in group:
        parameter.grad = scale * torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype)


@each("kind", Optimizer)
def test_every_kind_goes_down_a_bowl(kind: type) -> None:
    point = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = kind(learning_rate=0.05, warmup=0).optimizer({"all": [point]})
    for _ in range(200):
        optimizer.zero_grad()
        point.square().sum().backward()
        optimizer.step()
    assert point.abs().max() < 0.1


@each("kind", Optimizer)
def test_every_kind_goes_on_from_its_saved_state(kind: type) -> None:
    group = parameters()
    optimizer = kind(warmup=3).optimizer({"all": group})
    for seed in range(3):
        give(group, seed)
        optimizer.step()
    state, twin = copy.deepcopy(optimizer.group_state("all")), copy.deepcopy(group)
    other = kind(warmup=3).optimizer({"all": twin})
    other.load_group_state("all", state)
    for seed in range(3, 6):
        for parameters_, one in ((group, optimizer), (twin, other)):
            give(parameters_, seed)
            one.step()
    assert all(torch.equal(one, two) for one, two in zip(group, twin, strict=True))
    assert other.group_state("all")["step"] == 6


def test_the_first_update_moves_nothing_but_is_remembered() -> None:
    group = parameters()
    before = copy.deepcopy(group)
    optimizer = LaProp(warmup=10).optimizer({"all": group})
    give(group, 0)
    optimizer.step()
    assert all(torch.equal(one, two) for one, two in zip(group, before, strict=True))
    assert all(moment.abs().max() > 0 for moment in optimizer.group_state("all")["momentum"])


def test_without_warmup_the_first_update_is_the_sign_of_the_gradient() -> None:
    group = parameters()
    before = copy.deepcopy(group)
    optimizer = LaProp(learning_rate=0.01, warmup=0).optimizer({"all": group})
    give(group, 0)
    optimizer.step()
    for parameter, old in zip(group, before, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter - old, -0.01 * parameter.grad.sign())


def test_warmup_rises_with_the_updates_behind() -> None:
    """A constant gradient moves a parameter by the learning rate, whatever its size."""
    point = nn.Parameter(torch.tensor([100.0]).double())
    optimizer = LaProp(learning_rate=1.0, warmup=4).optimizer({"all": [point]})
    moves = []
    for _ in range(6):
        before = point.item()
        point.grad = torch.tensor([0.5]).double()
        optimizer.step()
        moves.append(before - point.item())
    assert moves == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.0])


def test_updates_do_not_depend_on_the_scale_of_the_gradient_while_nothing_is_clipped() -> None:
    results = []
    for scale in (1.0, 1e-6):
        group = parameters()
        optimizer = LaProp(learning_rate=0.01, warmup=0, clip=1e9).optimizer({"all": group})
        for seed in range(4):
            give(group, seed, scale)
            optimizer.step()
        results.append(group)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_a_step_is_no_longer_than_the_normalised_gradient_can_be() -> None:
    group = parameters()
    optimizer = LaProp(learning_rate=1.0, warmup=0, beta1=0.9, beta2=0.999).optimizer({"all": group})
    for seed in range(20):
        give(group, seed, 10.0**seed if seed % 2 else 1e-3)
        before = copy.deepcopy(group)
        optimizer.step()
        limit = (1 - 0.999) ** -0.5
        assert all((one - two).abs().max() <= limit for one, two in zip(group, before, strict=True))


def test_zero_gradients_and_missing_ones_move_nothing() -> None:
    group = parameters()
    before = copy.deepcopy(group)
    optimizer = LaProp(warmup=0).optimizer({"all": group})
    group[0].grad = torch.zeros_like(group[0])
    optimizer.step()
    optimizer.step()
    assert all(torch.equal(one, two) for one, two in zip(group, before, strict=True))


def test_clipping_by_hand() -> None:
    weights = [torch.tensor([3.0, 4.0]), torch.zeros(2), torch.tensor([0.3, 0.4])]
    gradients = [torch.tensor([30.0, 40.0]), torch.tensor([3.0, 4.0]), torch.tensor([0.03, 0.04])]
    first, second, third = clip_by_norm_ratio(gradients, weights, 0.3, 1e-3)
    torch.testing.assert_close(first, torch.tensor([0.9, 1.2]))
    torch.testing.assert_close(second.norm(), torch.tensor(3e-4))
    assert torch.equal(third, gradients[2])


def test_clipping_bounds_whole_tensor_norms() -> None:
    weights = [torch.randn(4, 5) * 10.0**k for k in range(-5, 3)]
    gradients = [torch.randn(4, 5) * 10.0**k for k in range(2, -6, -1)]
    for weight, gradient, clipped in zip(weights, gradients, clip_by_norm_ratio(gradients, weights, 0.3, 1e-3), strict=True):
        assert clipped.norm() <= 0.3 * max(1e-3, weight.norm().item()) * (1 + 1e-5)
        torch.testing.assert_close(clipped / clipped.norm(), gradient / gradient.norm())


def test_groups_count_their_own_steps() -> None:
    one, two = parameters()
    optimizer = LaProp(warmup=0).optimizer({"one": [one], "two": [two]})
    give([one, two], 0)
    optimizer.step()
    optimizer.load_group_state("two", {**optimizer.group_state("two"), "step": 7})
    optimizer.step()
    assert (optimizer.group_state("one")["step"], optimizer.group_state("two")["step"]) == (2, 8)


def test_a_state_of_other_parameters_is_refused() -> None:
    group = parameters()
    optimizer = LaProp().optimizer({"all": group})
    state = optimizer.group_state("all")
    with pytest.raises((ValueError, RuntimeError)):
        optimizer.load_group_state("all", {**state, "square": state["square"][:1]})
    with pytest.raises((ValueError, RuntimeError)):
        optimizer.load_group_state("all", {**state, "square": [torch.zeros(9), torch.zeros(9)]})


def test_blending_with_a_constant_source_is_a_geometric_mix() -> None:
    slow, fast = [torch.tensor([1.0, -2.0]).double()], [torch.tensor([5.0, 5.0]).double()]
    start = slow[0].clone()
    for _ in range(7):
        blend_(slow, fast, 0.02)
    torch.testing.assert_close(slow[0], fast[0] + 0.98**7 * (start - fast[0]))
