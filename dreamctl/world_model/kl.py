"""Kinds of divergence between posterior and prior."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dreamctl.core.limits import Weight
from dreamctl.nn.distributions import OneHot


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

    def __call__(self, posterior: OneHot, prior: OneHot) -> dict[str, Tensor]:
        """Scaled loss terms, each (B, T), in nats."""
        return {
            "dynamics": self.dynamics * posterior.detach().kl(prior).clamp_min(self.free_nats),
            "representation": self.representation * posterior.kl(prior.detach()).clamp_min(self.free_nats),
        }


KL = BalancedKL
