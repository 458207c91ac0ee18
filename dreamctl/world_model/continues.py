"""Kinds of predicted continuation: how likely an episode goes on, what teaches it, and where the discount is kept.

Each speaks of two probabilities: *survival*, that the episode goes on, and *continue_prob*, survival times the discount γ.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from dreamctl.nn.distributions import Bernoulli, full_precision


@dataclass(frozen=True)
class SoftContinue:
    """A label that holds the discount: (1 - terminated) γ, so that what is predicted is the continue probability (DreamerV3)."""

    kind: ClassVar[str] = "soft"

    @property
    def param_size(self) -> int:
        """Numbers a network emits: a logit."""
        return 1

    def losses(self, params: Tensor, terminated: Tensor, discount: float) -> dict[str, Tensor]:
        """Binary cross-entropy of (B, T, 1) to the soft label of (B, T) bool, (B, T)."""
        params = full_precision(params)  # also for the label: in bfloat16 γ would be 0.996
        label = (~terminated).to(params.dtype) * discount
        return {"continue": Bernoulli(params.squeeze(-1)).loss(label)}

    def survival(self, params: Tensor, discount: float) -> Tensor:
        """min(1, p / γ), (..., 1) -> (...)."""
        return (Bernoulli(params.squeeze(-1)).prob / discount).clamp_max(1.0)

    def continue_prob(self, params: Tensor, discount: float) -> Tensor:  # noqa: ARG002
        """p, (..., 1) -> (...)."""
        return Bernoulli(params.squeeze(-1)).prob

    def divisor(self, discount: float) -> float:  # noqa: ARG002
        """What the weights of a dream divide out of its continue probabilities: nothing, the label owns the discount."""
        return 1.0


@dataclass(frozen=True)
class HardContinue:
    """A label without discount: 1 - terminated; the discount is multiplied in afterwards (DreamerV3, first version).

    Attributes:
        read: the predicted `probability` p, or its `mode`, 1 where p > ½ and 0 elsewhere, as the first DreamerV3 reads it.
    """

    kind: ClassVar[str] = "hard"
    read: Literal["probability", "mode"] = "probability"

    @property
    def param_size(self) -> int:
        """Numbers a network emits: a logit."""
        return 1

    def losses(self, params: Tensor, terminated: Tensor, discount: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Binary cross-entropy of (B, T, 1) to the hard label of (B, T) bool, (B, T)."""
        belief = Bernoulli(params.squeeze(-1))
        return {"continue": belief.loss((~terminated).to(belief.logits.dtype))}

    def survival(self, params: Tensor, discount: float) -> Tensor:  # noqa: ARG002
        """p or its mode, (..., 1) -> (...)."""
        prob = Bernoulli(params.squeeze(-1)).prob
        return prob if self.read == "probability" else (prob > 0.5).to(prob.dtype)

    def continue_prob(self, params: Tensor, discount: float) -> Tensor:
        """γ p, (..., 1) -> (...)."""
        return discount * self.survival(params, discount)

    def divisor(self, discount: float) -> float:
        """What the weights of a dream divide out of its continue probabilities: γ."""
        return discount


@dataclass(frozen=True)
class NoContinue:
    """Nothing is predicted, every episode goes on for ever (Dreamer, whose tasks have no terminal states)."""

    kind: ClassVar[str] = "none"

    @property
    def param_size(self) -> int:
        """Numbers a network emits: none."""
        return 0

    def losses(self, params: Tensor, terminated: Tensor, discount: float) -> dict[str, Tensor]:  # noqa: ARG002
        """There is nothing to learn."""
        return {}

    def survival(self, params: Tensor, discount: float) -> Tensor:  # noqa: ARG002
        """1, (..., 0) -> (...)."""
        return full_precision(params).new_ones(params.shape[:-1])

    def continue_prob(self, params: Tensor, discount: float) -> Tensor:
        """γ, (..., 0) -> (...)."""
        return discount * self.survival(params, discount)

    def divisor(self, discount: float) -> float:
        """What the weights of a dream divide out of its continue probabilities: γ."""
        return discount


ContinueOutput = SoftContinue | HardContinue | NoContinue
