import pytest
import torch
from torch import nn

from dreamctl.nn.frozen import frozen


def test_gradients_flow_through_a_frozen_network_and_not_into_it() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    with frozen(layer):
        y = layer(x)
    y.sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.detach().sum(0).expand(4, 3))


def test_what_was_computed_before_and_after_still_teaches_it() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    before = layer(x)
    with frozen(layer):
        layer(x.clone().requires_grad_())
    (before.sum() + layer(x).sum()).backward()
    torch.testing.assert_close(layer.weight.grad, 2 * x.sum(0).expand(2, 3))


def test_what_did_not_learn_before_does_not_learn_after() -> None:
    learns, rests = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(learns, rests):
        raise ZeroDivisionError
    assert all(p.requires_grad for p in learns.parameters())
    assert not any(p.requires_grad for p in rests.parameters())
