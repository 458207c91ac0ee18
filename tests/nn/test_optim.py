import copy
import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from dreamctl.nn.adam import Adam, AdamGroup
from dreamctl.nn.optim import LaProp, Optimizer, blend_, blend_every_, clip_by_norm_ratio
from dreamctl.nn.schedules import Cosine, Linear, Schedule
from tests.kinds import each


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2).double()), nn.Parameter(torch.randn(4).double())]


def give(group: list[nn.Parameter], seed: int, scale: float = 1.0) -> None:
    noise = torch.Generator().manual_seed(seed)
    for parameter in group:
        parameter.grad = scale * torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype)


FAST = {
    LaProp: LaProp(learning_rate=0.05, warmup=0),
    Adam: Adam(AdamGroup(0.05, 1e-8), AdamGroup(0.05, 1e-8), AdamGroup(0.05, 1e-8)),
}


@each("kind", Optimizer)
def test_every_kind_goes_down_a_bowl(kind: type) -> None:
    point = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = FAST[kind].optimizer({"actor": [point]})
    for _ in range(200):
        optimizer.zero_grad()
        point.square().sum().backward()
        optimizer.step()
    assert point.abs().max() < 0.1


@each("kind", Optimizer)
def test_every_kind_goes_on_from_its_saved_state(kind: type) -> None:
    group = parameters()
    optimizer = kind().optimizer({"actor": group})
    for seed in range(3):
        give(group, seed)
        optimizer.step()
    state, twin = copy.deepcopy(optimizer.group_state("actor")), copy.deepcopy(group)
    other = kind().optimizer({"actor": twin})
    other.load_group_state("actor", state)
    for seed in range(3, 6):
        for parameters_, one in ((group, optimizer), (twin, other)):
            give(parameters_, seed)
            one.step()
    assert all(torch.equal(one, two) for one, two in zip(group, twin, strict=True))
    assert other.group_state("actor")["step"] == 6


@each("kind", Optimizer)
def test_no_kind_moves_anything_for_zero_gradients_and_missing_ones(kind: type) -> None:
    group = parameters()
    before = copy.deepcopy(group)
    optimizer = FAST[kind].optimizer({"critic": group})
    for _ in range(2):
        group[0].grad = torch.zeros_like(group[0])
        group[1].grad = None
        optimizer.step()
    assert all(torch.equal(one, two) for one, two in zip(group, before, strict=True))


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


def moves_of(kind: LaProp) -> list[float]:
    """How far each of six updates moves a parameter: under a constant gradient by the learning rate, whatever the gradient's size."""
    point = nn.Parameter(torch.tensor([100.0]).double())
    optimizer = kind.optimizer({"all": [point]})
    moves = []
    for _ in range(6):
        before = point.item()
        point.grad = torch.tensor([0.5]).double()
        optimizer.step()
        moves.append(before - point.item())
    return moves


def test_warmup_rises_with_the_updates_behind() -> None:
    assert moves_of(LaProp(learning_rate=1.0, warmup=4)) == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.0])


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


def test_clip_zero_clips_nothing() -> None:
    moves = []
    for clip in (0.0, 1e9, 1e-3):
        group = parameters()
        optimizer = LaProp(learning_rate=0.01, warmup=0, clip=clip, eps=1.0).optimizer({"all": group})
        give(group, 0)
        optimizer.step()
        moves.append(group[0].detach().clone())
    torch.testing.assert_close(moves[0], moves[1])
    assert not torch.allclose(moves[0], moves[2])


def test_weight_decay_shrinks_kernels_alone() -> None:
    kernel, vector = nn.Parameter(torch.full((2, 2), 4.0)), nn.Parameter(torch.full((3,), 4.0))
    optimizer = LaProp(learning_rate=0.5, warmup=0, weight_decay=0.1).optimizer({"all": [kernel, vector]})
    optimizer.step()
    assert kernel.flatten().tolist() == pytest.approx([3.8] * 4)
    assert vector.tolist() == [4.0, 4.0, 4.0]


@each("kind", Schedule)
def test_every_schedule_begins_whole_never_rises_and_stays_where_it_ends(kind: type) -> None:
    schedule = kind()
    factors = [schedule.factor(done) for done in range(0, 200_001, 5000)]
    assert factors[0] == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors))
    assert factors[-1] == factors[20] == pytest.approx(getattr(schedule, "final", 1.0))


def test_schedules_by_hand() -> None:
    assert [Linear(10, 0.2).factor(done) for done in (0, 5, 10, 99)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert [Cosine(10, 0.2).factor(done) for done in (0, 5, 10, 99)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert Cosine(4).factor(1) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))


def test_a_schedule_begins_after_the_warmup() -> None:
    assert moves_of(LaProp(learning_rate=1.0, warmup=2, schedule=Linear(2, 0.0))) == pytest.approx([0, 0.5, 1.0, 0.5, 0, 0])


def test_adam_by_hand() -> None:
    """One number, twice the gradient 2 after clipping: m and v are debiased, so each step is lr · 2 / (2 + ε)."""
    point = nn.Parameter(torch.tensor([1.0]).double())
    optimizer = Adam(actor=AdamGroup(0.1, 0.5, clip=2.0)).optimizer({"actor": [point]})
    for _ in range(2):
        point.grad = torch.tensor([30.0]).double()
        optimizer.step()
    assert point.item() == pytest.approx(1 - 2 * 0.1 * 2 / 2.5)


def test_adam_clips_all_gradients_of_a_group_together() -> None:
    group, other = parameters(), parameters()
    optimizer = Adam(world_model=AdamGroup(clip=3.0), actor=AdamGroup(clip=0.0)).optimizer({"world_model": group, "actor": other})
    give(group, 0, 1e3)
    give(other, 0, 1e3)
    wanted = [3.0 * p.grad / torch.stack([q.grad.norm() for q in group]).norm() for p in group if p.grad is not None]
    optimizer.step()
    for moment, gradient in zip(optimizer.group_state("world_model")["exp_avg"], wanted, strict=True):
        torch.testing.assert_close(moment, 0.1 * gradient)
    for moment, parameter in zip(optimizer.group_state("actor")["exp_avg"], other, strict=True):
        torch.testing.assert_close(moment, 0.1 * parameter.grad, msg="clip 0 clips nothing")


def test_adam_is_that_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    settings = AdamGroup(1e-2, 1e-5, clip=2.0, weight_decay=0.1)
    optimizer = Adam(critic=settings, beta1=0.8, beta2=0.99).optimizer({"critic": ours})
    reference = torch.optim.AdamW(theirs, 1e-2, (0.8, 0.99), 1e-5, weight_decay=0.1)
    for seed in range(6):
        give(ours, seed, 10.0 ** (seed - 3))
        give(theirs, seed, 10.0 ** (seed - 3))
        nn.utils.clip_grad_norm_(theirs, 2.0)
        optimizer.step()
        reference.step()
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-8)  # torch adds 1e-6 to the norm that it clips by


def test_no_kind_imports_the_compiler() -> None:
    """In a process of its own: torch's optimizers, which other tests make, do."""
    program = """
import sys, torch
from typing import get_args
from dreamctl.nn.optim import Optimizer
for kind in get_args(Optimizer):
    kind().optimizer({"actor": [torch.nn.Parameter(torch.ones(2))]}).step()
print("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def test_adam_decays_every_parameter_apart_from_the_gradient() -> None:
    group = parameters()
    before = copy.deepcopy(group)
    Adam(critic=AdamGroup(0.5, weight_decay=0.1)).optimizer({"critic": group}).step()
    for parameter, old in zip(group, before, strict=True):
        torch.testing.assert_close(parameter, 0.95 * old)


def test_each_network_has_its_own_settings() -> None:
    points = {name: nn.Parameter(torch.zeros(1).double()) for name in ("world_model", "actor", "critic")}
    optimizer = Adam(AdamGroup(1.0), AdamGroup(2.0), AdamGroup(3.0)).optimizer({name: [point] for name, point in points.items()})
    for point in points.values():
        point.grad = torch.ones(1).double()
    optimizer.step()
    assert [point.item() for point in points.values()] == pytest.approx([-1.0, -2.0, -3.0])


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


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_blend_is_due_at_every_so_manieth_call(every: int) -> None:
    slow, calls, moved = torch.zeros(1), torch.zeros((), dtype=torch.int64), []
    for number in range(1, 8):
        before = slow.item()
        blend_every_([slow], [torch.full((1,), float(number))], 1.0, every, calls)
        moved.append(slow.item() != before)
    assert moved == [call % every == 0 for call in range(7)]
    assert calls.item() == 7
