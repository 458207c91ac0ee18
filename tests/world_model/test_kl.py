import math

import pytest
import torch

from dreamctl.nn.distributions import OneHot
from dreamctl.world_model.kl import KL, BalancedKL
from tests.kinds import each


def pair(spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple((spread * torch.randn(2, 5, 3, 4).double()).requires_grad_() for _ in range(2))


@each("kind", KL)
def test_every_kind_gives_terms_a_step_that_vanish_for_equals(kind: type) -> None:
    q, p = pair()
    terms = kind()(OneHot(q, 0.01), OneHot(p, 0.01))
    assert all(term.shape == (2, 5) for term in terms.values())
    assert all(term.isfinite().all() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert q.grad.abs().max() > 0
    assert p.grad.abs().max() > 0


def test_balanced_by_hand() -> None:
    q, p = torch.tensor([[[[0.0, 0.0]]]]).double(), torch.tensor([[[[0.0, math.log(999)]]]]).double()
    kl = 0.5 * math.log(0.5 / 0.001) + 0.5 * math.log(0.5 / 0.999)
    terms = BalancedKL()(OneHot(q), OneHot(p))
    assert terms["dynamics"].item() == pytest.approx(kl)
    assert terms["representation"].item() == pytest.approx(0.1 * kl)


def test_both_terms_have_the_same_value_and_teach_different_sides() -> None:
    q, p = pair()
    terms = BalancedKL(dynamics=1.0, representation=1.0)(OneHot(q, 0.01), OneHot(p, 0.01))
    torch.testing.assert_close(terms["dynamics"], terms["representation"])
    assert torch.autograd.grad(terms["dynamics"].sum(), (q, p), allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(terms["representation"].sum(), (q, p), allow_unused=True)[1] is None


def test_free_nats_count_a_step_and_stop_the_gradient_below() -> None:
    q, p = pair(spread=0.05)
    assert (OneHot(q, 0.01).kl(OneHot(p, 0.01)) < 1).all()
    terms = BalancedKL(representation=1.0)(OneHot(q, 0.01), OneHot(p, 0.01))
    assert all((term == 1).all() for term in terms.values())
    (terms["dynamics"].sum() + terms["representation"].sum()).backward()
    assert (q.grad == 0).all()
    assert (p.grad == 0).all()


def test_free_nats_are_compared_with_the_sum_over_groups() -> None:
    logits = torch.zeros(1, 1, 3, 2).double()
    other = torch.full((1, 1, 3, 2), 0.0).double()
    other[..., 1] = 2.5
    kl = OneHot(logits).kl(OneHot(other)).item()
    assert 1 < kl < 3, "each group is below one nat, all together are above"
    assert BalancedKL()(OneHot(logits), OneHot(other))["dynamics"].item() == pytest.approx(kl)
