import math

import pytest
import torch

from dreamctl.nn.distributions import Normal, OneHot
from dreamctl.world_model.kl import KL, AverageKL, BalancedKL, PlainKL
from dreamctl.world_model.latents import GaussianLatent, Latent
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


@each("kind", KL)
@each("latent", Latent)
def test_every_kind_costs_no_more_than_its_free_nats_where_both_agree(kind: type, latent: type) -> None:
    params = torch.randn(2, 5, latent().param_size).double().requires_grad_()
    belief = latent().distribution(params)
    assert all((term == 0).all() for term in kind(free_nats=0.0)(belief, belief).values())
    terms = kind(free_nats=2.0)(belief, belief).values()
    assert all((term == term[0, 0]).all() and 0 < term[0, 0] <= 2 for term in terms)
    torch.stack(list(terms)).sum().backward()
    assert (params.grad == 0).all()


@each("kind", KL)
def test_every_kind_weighs_gaussians_too(kind: type) -> None:
    (q, p), latent = pair(), GaussianLatent(6)
    terms = kind()(latent.distribution(q.flatten(2)), latent.distribution(p.flatten(2)))
    assert all(term.shape == (2, 5) and term.isfinite().all() for term in terms.values())
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


def uneven() -> tuple[Normal, Normal]:
    """Two steps whose divergences are 2 and 8 nats, 5 on average: ½ (distance)²."""
    mean = torch.tensor([[[2.0], [4.0]]]).double().requires_grad_()
    one = torch.ones(1, 2, 1).double()
    return Normal(mean, one), Normal(torch.zeros(1, 2, 1).double(), one)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (AverageKL(balance=0.75, scale=2.0), {"dynamics": [7.5, 7.5], "representation": [2.5, 2.5]}),
        (AverageKL(balance=0.75, scale=2.0, free_nats=6.0), {"dynamics": [9.0, 9.0], "representation": [3.0, 3.0]}),
        (PlainKL(scale=3.0), {"divergence": [15.0, 15.0]}),
        (PlainKL(free_nats=6.0), {"divergence": [6.0, 6.0]}),
        (PlainKL(free_nats=3.0, free="step"), {"divergence": [3.0, 8.0]}),
        (BalancedKL(free_nats=3.0), {"dynamics": [3.0, 8.0], "representation": [0.3, 0.8]}),
    ],
    ids=repr,
)
def test_free_nats_by_hand(kind: KL, wanted: dict[str, list[float]]) -> None:
    found = {name: term[0].tolist() for name, term in kind(*uneven()).items()}
    assert found.keys() == wanted.keys()
    assert all(found[name] == pytest.approx(wanted[name]) for name in wanted)


@pytest.mark.parametrize(("free_nats", "learns"), [(4.0, [True, True]), (6.0, [False, False])])
def test_free_nats_on_average_stop_all_steps_or_none(free_nats: float, learns: list[bool]) -> None:
    posterior, prior = uneven()
    PlainKL(free_nats=free_nats)(posterior, prior)["divergence"].mean().backward()
    assert (posterior.mean.grad != 0).flatten().tolist() == learns


def test_the_terms_of_an_average_teach_different_sides() -> None:
    q, p = pair()
    terms = AverageKL()(OneHot(q), OneHot(p))
    assert torch.autograd.grad(terms["dynamics"].sum(), (q, p), allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(terms["representation"].sum(), (q, p), allow_unused=True)[1] is None
