import math

import pytest
import torch

from dreamctl.world_model.latents import CategoricalLatent, GaussianLatent, Latent
from tests.kinds import each


def params(latent: Latent, *lead: int) -> torch.Tensor:
    return torch.randn(*lead, latent.param_size).double().requires_grad_()


@each("kind", Latent)
def test_every_latent_reads_what_it_asks_for(kind: type) -> None:
    latent = kind()
    raw = params(latent, 5)
    belief = latent.distribution(raw)
    sample = belief.sample(latent.noise((5,), torch.Generator().manual_seed(0)).double())
    assert sample.flatten(1).shape == belief.mode.flatten(1).shape == (5, latent.size)
    assert belief.entropy().shape == (5,)
    (sample.flatten(1) * torch.randn(5, latent.size).double()).sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert (raw.grad != 0).any()


@each("kind", Latent)
def test_every_latent_is_no_surprise_to_itself(kind: type) -> None:
    latent = kind()
    one, two = latent.distribution(params(latent, 2, 5)), latent.distribution(params(latent, 2, 5))
    assert (one.kl(one) == 0).all()
    assert (one.kl(two) > 0).all()
    assert one.kl(two).shape == (2, 5)
    assert not one.detach().kl(two.detach()).requires_grad
    torch.testing.assert_close(one.detach().kl(two), one.kl(two))


@each("kind", Latent)
def test_every_latent_draws_by_its_noise_alone(kind: type) -> None:
    latent = kind()
    noise = [latent.noise((5,), torch.Generator().manual_seed(seed)).double() for seed in (0, 0, 1)]
    belief = latent.distribution(params(latent, 5))
    first, same, other = (belief.sample(chance) for chance in noise)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@each("kind", Latent)
def test_every_latent_computes_in_full_precision(kind: type) -> None:
    latent = kind()
    assert latent.distribution(torch.zeros(3, latent.param_size, dtype=torch.bfloat16)).entropy().dtype == torch.float32


@pytest.mark.parametrize(("link", "std"), [("softplus", math.log(1 + math.exp(0.6)) + 0.2), ("sigmoid", 2 / (1 + math.exp(-0.3)) + 0.2)])
def test_gaussian_by_hand(link: str, std: float) -> None:
    latent = GaussianLatent(size=2, min_std=0.2, std=link)
    belief = latent.distribution(torch.tensor([[1.0, -1.0, 0.6, 0.6]]).double())
    assert latent.param_size == 4
    assert belief.mode.tolist() == [[1.0, -1.0]]
    assert belief.std.flatten().tolist() == pytest.approx([std, std])
    sample = belief.sample(torch.tensor([[2.0, 0.0]]).double())
    assert sample.flatten().tolist() == pytest.approx([1 + 2 * std, -1])


def test_without_unimix_a_class_may_be_almost_impossible() -> None:
    logits = torch.tensor([[60.0, 0.0]]).double()
    assert CategoricalLatent(1, 2, unimix=0.0).distribution(logits).probs.min() < 1e-20
    assert CategoricalLatent(1, 2, unimix=0.01).distribution(logits).probs.min().item() == pytest.approx(0.005)
