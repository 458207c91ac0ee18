"""Distributions of numbers that lie between -1 and 1, for actors whose samples must stay inside the bounds."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamctl.nn.distributions import Normal

SQRT_2, LOG_2 = math.sqrt(2.0), math.log(2.0)
# E[f(x)] under a standard normal is Σ w f(x) over these nodes; the weights sum to 1.
NODES = 32


class TruncatedNormal:
    """A normal cut at ±1 and renormalised, events on the last axis (DreamerV2 official code, `TruncNormalDist`).

    With α = (-1 - mean) / std, β = (1 - mean) / std and Z = Φ(β) - Φ(α):

        log p(x) = log N(x; mean, std) - log Z
        H = log(√(2πe) std Z) + (α φ(α) - β φ(β)) / (2 Z)
        x = mean + std Φ⁻¹(Φ(α) + u Z),  u uniform

    Args:
        mean, std: (..., A), the mean inside ±1.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std
        self.low, self.high = (-1 - mean) / std, (1 - mean) / std
        self.below = torch.special.ndtr(self.low)
        self.mass = torch.special.ndtr(self.high) - self.below

    @property
    def mode(self) -> Tensor:
        """The mean of the uncut normal, (..., A)."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """Strictly inside ±1, (..., A), differentiable; `noise` is uniform."""
        eps = torch.finfo(self.mean.dtype).eps
        quantile = (self.below + noise * self.mass).clamp(eps, 1 - eps)
        return torch.addcmul(self.mean, self.std, torch.special.ndtri(quantile)).clamp(-1 + eps, 1 - eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of (..., A), summed over A, (...)."""
        return Normal(self.mean, self.std).log_prob(value) - self.mass.log().sum(-1)

    def entropy(self) -> Tensor:
        """In nats, summed over A, (...)."""
        edges = self.low * _density(self.low) - self.high * _density(self.high)
        each = (self.std * self.mass).log() + 0.5 * math.log(2 * math.pi * math.e) + edges / (2 * self.mass)
        return each.sum(-1)


class SquashedNormal:
    """tanh of a normal, events on the last axis (Dreamer, section 3, action and value models).

        x = tanh(y),  y ~ N(mean, std)
        log p(x) = log N(atanh x; mean, std) - log(1 - x²)
        H = H[y] + E[log(1 - tanh² y)], the expectation by Gauss-Hermite quadrature

    Args:
        mean, std: (..., A), before the squashing.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.normal = Normal(mean, std)

    @property
    def mode(self) -> Tensor:
        """The median, (..., A); the density itself peaks at the bounds where the normal is wide."""
        return self.normal.mean.tanh()

    def sample(self, noise: Tensor) -> Tensor:
        """Between -1 and 1, (..., A), differentiable; `noise` is standard normal."""
        return self.normal.sample(noise).tanh()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of (..., A), summed over A, (...); an action at a bound counts as the nearest one inside."""
        limit = 1 - torch.finfo(value.dtype).eps
        y = value.clamp(-limit, limit).atanh()
        return self.normal.log_prob(y) - _log_slope(y).sum(-1)

    def entropy(self) -> Tensor:
        """In nats, summed over A, (...)."""
        nodes, weights = _quadrature(self.normal.mean)
        y = self.normal.mean.unsqueeze(-1) + self.normal.std.unsqueeze(-1) * nodes
        return self.normal.entropy() + (_log_slope(y) * weights).sum((-2, -1))


def _density(x: Tensor) -> Tensor:
    """Standard normal density, elementwise."""
    return torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


def _log_slope(y: Tensor) -> Tensor:
    """log(1 - tanh² y) without cancellation, elementwise."""
    return 2 * (LOG_2 - y - F.softplus(-2 * y))


def _quadrature(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights (NODES,) of the expectation under a standard normal."""
    nodes, weights = np.polynomial.hermite.hermgauss(NODES)
    return like.new_tensor(nodes * SQRT_2), like.new_tensor(weights / math.sqrt(math.pi))
