"""Distributions as plain tensor functions: everything random comes in as noise, nothing is validated, nothing synchronises.

They compute in at least float32, also when a network hands them half precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

Draw = Callable[[Tensor, Tensor], Tensor]


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32 where it was half; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def inverse_cdf(probs: Tensor, uniform: Tensor) -> Tensor:
    """One-hot samples by inverting the cumulative distribution, one uniform number each.

    Args:
        probs: (..., C).
        uniform: (...) in [0, 1).

    Returns:
        (..., C) of exact zeros and ones.
    """
    # The clamp catches a cumulative sum that rounds to less than the noise.
    index = (probs.cumsum(-1) <= uniform.unsqueeze(-1)).sum(-1).clamp_max(probs.shape[-1] - 1)
    return one_hot(index, probs)


def one_hot(index: Tensor, like: Tensor) -> Tensor:
    """(...) class numbers -> (..., C) in the dtype of `like`, whose last axis is C; no range check, so no synchronisation."""
    return (index.unsqueeze(-1) == torch.arange(like.shape[-1], device=like.device)).to(like.dtype)


class _StraightThrough(torch.autograd.Function):
    """Forward the sample, backward to the probabilities: `sample + p - sg(p)` without its rounding."""

    @staticmethod
    def forward(_: object, sample: Tensor, probs: Tensor) -> Tensor:  # type: ignore[override]
        return sample.view_as(probs)

    @staticmethod
    def backward(_: object, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return None, grad


class LatentDistribution(Protocol):
    """What is believed of a stochastic state; only two of the same class are compared."""

    @property
    def mode(self) -> Tensor:
        """The likeliest value, (..., *event)."""

    def sample(self, noise: Tensor, draw: Draw = ...) -> Tensor:
        """A value (..., *event) that carries gradients to the parameters."""

    def entropy(self) -> Tensor:
        """In nats, (...)."""

    def kl(self, other: Self) -> Tensor:
        """KL(self || other) in nats, (...)."""

    def detach(self) -> Self:
        """The same distribution, constant."""


class OneHot:
    """S independent one-hot variables of C classes, mixed with a share of the uniform distribution (DreamerV3, world model learning).

        p = (1 - u) softmax(logits) + u / C

    Args:
        logits: (..., S, C).
        unimix: u in [0, 1].
    """

    def __init__(self, logits: Tensor, unimix: float = 0.0) -> None:
        self.logits = full_precision(logits)
        self.unimix = unimix

    @cached_property
    def probs(self) -> Tensor:
        """(..., S, C)."""
        # Along an inner axis the CPU kernel vectorises over groups: 10 times faster for the few classes of a latent.
        softmax = torch.softmax(self.logits.transpose(-1, -2), -2).transpose(-1, -2)
        return softmax if self.unimix == 0 else torch.add(softmax * (1 - self.unimix), self.unimix / self.logits.shape[-1])

    @cached_property
    def log_probs(self) -> Tensor:
        """(..., S, C); through log_softmax where nothing is mixed in, so that saturated logits stay finite."""
        return torch.log_softmax(self.logits, -1) if self.unimix == 0 else self.probs.log()

    @property
    def mode(self) -> Tensor:
        """The likeliest class, one-hot, (..., S, C)."""
        return one_hot(self.probs.argmax(-1), self.probs)

    def sample(self, noise: Tensor, draw: Draw = inverse_cdf) -> Tensor:
        """A sample (..., S, C) with straight-through gradients; `noise` (..., S) is what `draw` wants."""
        return _StraightThrough.apply(draw(self.probs.detach(), noise), self.probs)  # type: ignore[no-untyped-call]

    def log_prob(self, value: Tensor) -> Tensor:
        """Σ x ln p over classes, of one-hot values x (..., S, C), summed over S, (...)."""
        return (self.log_probs * value).sum((-2, -1))

    def entropy(self) -> Tensor:
        """-Σ p ln p in nats, summed over S, (...)."""
        return -(self.probs * self.log_probs).sum((-2, -1))

    def kl(self, other: "OneHot") -> Tensor:
        """KL(self || other) = Σ p (ln p - ln p') in nats, summed over S, (...)."""
        return (self.probs * (self.log_probs - other.log_probs)).sum((-2, -1))

    def detach(self) -> "OneHot":
        """The same distribution, constant."""
        return OneHot(self.logits.detach(), self.unimix)


class Normal:
    """Diagonal normal, events on the last axis; samples are neither squashed nor cut.

    Args:
        mean, std: (..., A).
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    @property
    def mode(self) -> Tensor:
        """The mean, (..., A)."""
        return self.mean

    def sample(self, noise: Tensor, draw: Draw = inverse_cdf) -> Tensor:  # noqa: ARG002
        """mean + std · noise, (..., A), gradients flow into both; `noise` is standard normal, `draw` is for choices."""
        return torch.addcmul(self.mean, self.std, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """-½ ((x - mean) / std)² - ln std - ½ ln 2π of x (..., A), summed over A, (...)."""
        scaled = (value - self.mean) / self.std
        return -(0.5 * scaled.square() + self.std.log() + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """ln std + ½ ln 2πe in nats, summed over A, (...)."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: "Normal") -> Tensor:
        """KL(self || other) in nats, summed over A, (...).

        ½ [(σ/σ')² + (μ' - μ)²/σ'² + 2 ln σ' - 2 ln σ - 1]
        """
        ratio, distance = self.std / other.std, (other.mean - self.mean) / other.std
        return (0.5 * (ratio.square() + distance.square() - 1) - ratio.log()).sum(-1)

    def detach(self) -> "Normal":
        """The same distribution, constant."""
        return Normal(self.mean.detach(), self.std.detach())


class Bernoulli:
    """One yes-or-no variable whose label may be soft.

    Args:
        logits: (...).
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = full_precision(logits)

    @property
    def prob(self) -> Tensor:
        """Probability of yes, (...)."""
        return torch.sigmoid(self.logits)

    def loss(self, target: Tensor) -> Tensor:
        """-(y ln p + (1 - y) ln(1 - p)) in nats, p = σ(logit), to a label y in [0, 1], (...)."""
        return F.binary_cross_entropy_with_logits(self.logits, target, reduction="none")


@lru_cache
def symexp_bins(count: int, limit: float = 20.0) -> Tensor:
    """`count` bins, symexp-spaced on ±symexp(limit), exactly antisymmetric, float64 (DreamerV3, critic learning)."""
    grid = torch.linspace(-limit, 0, (count + 1) // 2, dtype=torch.float64)
    half = -torch.expm1(-grid)
    return torch.cat([half, -half[: count // 2].flip(0)])


@lru_cache
def even_bins(count: int, limit: float = 20.0) -> Tensor:
    """`count` bins, evenly spaced on ±limit, exactly antisymmetric, float64."""
    bins = torch.linspace(-limit, limit, count, dtype=torch.float64)
    return (bins - bins.flip(0)) / 2


@dataclass(frozen=True)
class TwoHot:
    """A scalar as a distribution over bins; the target is split between its two neighbours.

    Attributes:
        logits: (..., M).
        bins: (M,), rising and antisymmetric.
    """

    logits: Tensor
    bins: Tensor

    @cached_property
    def log_probs(self) -> Tensor:
        """(..., M), shared by every target."""
        return torch.log_softmax(self.logits, -1)

    @cached_property
    def mean(self) -> Tensor:
        """Σ p b, (...).

        Summed from both ends so that equal weights cancel exactly: a fresh critic must predict 0, not 1e-6.
        """
        half = len(self.bins) // 2
        probs = torch.softmax(self.logits, -1)
        return ((probs[..., -half:] - probs[..., :half].flip(-1)) * self.bins[-half:]).sum(-1)

    def loss(self, target: Tensor) -> Tensor:
        """-((1 - w) ln p_below + w ln p_above), the cross-entropy to the two-hot of a raw scalar (...), in nats, (...)."""
        below, above, weight = self.neighbours(target)
        left, right = self.log_probs.gather(-1, torch.stack([below, above], -1)).unbind(-1)
        return -torch.lerp(left, right, weight)

    def first(self, steps: int) -> "TwoHot":
        """The first so many steps of (N, T)."""
        return TwoHot(self.logits[:, :steps], self.bins)

    def neighbours(self, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bins below and above each target (...), and the weight of the one above, linear in the raw value; ends are clipped."""
        last = len(self.bins) - 1
        position = torch.bucketize(target.contiguous(), self.bins, right=True)
        below, above = (position - 1).clamp_min(0), position.clamp_max(last)
        distance = (target - self.bins[below]).abs()
        span = distance + (self.bins[above] - target).abs()
        return below, above, torch.where(below == above, 0.0, distance / span)
