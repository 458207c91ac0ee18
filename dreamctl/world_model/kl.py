"""Kinds of divergence between posterior and prior."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from torch import Tensor

from dreamctl.core.limits import Share, Weight
from dreamctl.nn.distributions import LatentDistribution

D = TypeVar("D", bound=LatentDistribution)


def free_a_step(kl: Tensor, free_nats: float) -> Tensor:
    """max(free, KL_t) of each step, (B, T); below, its gradient is exactly zero."""
    return kl.clamp_min(free_nats)


def free_on_average(kl: Tensor, free_nats: float) -> Tensor:
    """max(free, mean KL), the same at every step (B, T); below, the gradient of all is exactly zero."""
    return kl.mean().clamp_min(free_nats).expand_as(kl)


@dataclass(frozen=True)
class BalancedKL:
    """KL balancing: the prior is pulled to the posterior faster than the reverse (DreamerV3, world model learning).

        L_dyn = max(free, KL(sg(q) || p)),  L_rep = max(free, KL(q || sg(p)))

    The KL is summed over the groups before it is compared with the free nats; below them its gradient is exactly zero.

    Attributes:
        dynamics, representation: scale of each term.
        free_nats: per time step.
    """

    kind: ClassVar[str] = "balanced"
    dynamics: Weight = 1.0
    representation: Weight = 0.1
    free_nats: Weight = 1.0

    def __call__(self, posterior: D, prior: D) -> dict[str, Tensor]:
        """Scaled loss terms, each (B, T), in nats."""
        return {
            "dynamics": self.dynamics * posterior.detach().kl(prior).clamp_min(self.free_nats),
            "representation": self.representation * posterior.kl(prior.detach()).clamp_min(self.free_nats),
        }


@dataclass(frozen=True)
class AverageKL:
    """KL balancing whose free nats count on the average of the batch (DreamerV2, KL balancing; `free_avg` of its official code).

        L_dyn = scale α max(free, mean KL(sg(q) || p)),  L_rep = scale (1 - α) max(free, mean KL(q || sg(p)))

    Attributes:
        balance: α, weight of the term that trains the prior.
        scale: of both terms.
        free_nats: of the mean over batch and time.
    """

    kind: ClassVar[str] = "balanced_average"
    balance: Share = 0.8
    scale: Weight = 1.0
    free_nats: Weight = 0.0

    def __call__(self, posterior: D, prior: D) -> dict[str, Tensor]:
        """Scaled loss terms, each (B, T), in nats."""
        return {
            "dynamics": self.scale * self.balance * free_on_average(posterior.detach().kl(prior), self.free_nats),
            "representation": self.scale * (1 - self.balance) * free_on_average(posterior.kl(prior.detach()), self.free_nats),
        }


@dataclass(frozen=True)
class PlainKL:
    """The evidence lower bound's own term, which pulls both sides alike (Dreamer, section 4, learning latent dynamics).

        L = scale max(free, mean KL(q || p)), or with max(free, KL_t) at each step

    Attributes:
        scale: of the term.
        free_nats: below which nothing is learned.
        free: whether free nats count on the `average` of the batch, as in Dreamer, or at each `step`.
    """

    kind: ClassVar[str] = "plain"
    scale: Weight = 1.0
    free_nats: Weight = 0.0
    free: Literal["average", "step"] = "average"

    def __call__(self, posterior: D, prior: D) -> dict[str, Tensor]:
        """The scaled loss term, (B, T), in nats."""
        return {"divergence": self.scale * FREE[self.free](posterior.kl(prior), self.free_nats)}


FREE: Mapping[str, Callable[[Tensor, float], Tensor]] = {"average": free_on_average, "step": free_a_step}

KL = BalancedKL | AverageKL | PlainKL
