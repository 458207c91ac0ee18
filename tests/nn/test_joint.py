import pytest
import torch

from dreamctl.core.parts import Choices, Numbers, Part
from dreamctl.nn.actions import BoundedNormal, CategoricalAction
from dreamctl.nn.distributions import Normal
from dreamctl.nn.joint import PolicyOutput

PARTS: list[Part] = [Choices(1, 3), Numbers(2), Choices(2, 4)]


def output(parts: list[Part] = PARTS) -> PolicyOutput:
    return PolicyOutput(parts, CategoricalAction(), BoundedNormal())


def test_each_quantity_of_each_part_has_a_layer() -> None:
    assert output().param_sizes == (3, 2, 2, 8)


def test_noise_is_what_the_parts_take_side_by_side() -> None:
    noise = output().noise((500,), torch.Generator().manual_seed(0))
    assert noise.shape == (500, 1 + 2 + 2)
    uniform = noise[:, [0, 3, 4]]
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert (noise[:, 1:3] < 0).any()


def test_the_product_adds_logarithms_and_entropies() -> None:
    made, params = output(), torch.randn(5, 15).double()
    joint, noise = made.distribution(params), made.noise((5,), torch.Generator().manual_seed(0)).double()
    choice, normal = CategoricalAction(), BoundedNormal()
    alone = [
        choice.distribution(params[:, :3], Choices(1, 3)),
        normal.distribution(params[:, 3:7], Numbers(2)),
        choice.distribution(params[:, 7:], Choices(2, 4)),
    ]
    action = joint.sample(noise)
    numbers, chances = [action[:, :3], action[:, 3:5], action[:, 5:]], [noise[:, :1], noise[:, 1:3], noise[:, 3:]]
    for part, belief, chance in zip(numbers, alone, chances, strict=True):
        assert torch.equal(part, belief.sample(chance))
    torch.testing.assert_close(joint.log_prob(action), sum(b.log_prob(part) for b, part in zip(alone, numbers, strict=True)))
    torch.testing.assert_close(joint.entropy(), sum(b.entropy() for b in alone))
    assert torch.equal(joint.mode, torch.cat([b.mode for b in alone], -1))


def test_an_action_of_one_part_is_read_without_a_product() -> None:
    made = output([Numbers(3)])
    assert isinstance(made.distribution(torch.zeros(6)), Normal)
    one, other = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    assert torch.equal(made.noise((7,), one), torch.randn(7, 3, generator=other))


@pytest.mark.parametrize("what", ["log_prob", "entropy", "sample"])
def test_every_part_is_taught(what: str) -> None:
    made, params = output(), torch.randn(5, 15).double().requires_grad_()
    joint, noise = made.distribution(params), made.noise((5,), torch.Generator().manual_seed(0)).double()
    action = joint.sample(noise)
    value = {"log_prob": joint.log_prob(action.detach()), "entropy": joint.entropy(), "sample": action * torch.arange(13)}[what]
    value.sum().backward()
    assert params.grad is not None
    touched = (params.grad != 0).any(0)
    assert touched[[*range(3), *range(7, 15)]].all()
    assert touched[3:7].any(), "means and standard deviations, or what the entropy of a normal knows: the latter"
