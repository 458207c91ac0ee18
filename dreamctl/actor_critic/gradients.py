"""Kinds of actor gradient: how an imagined return teaches the actor.

Each answers the objective (N, H) that the actor maximises, before weights and entropy, from

    log_prob  log π(a | s) of constant actions at constant states
    returns   R, its values v of the same states, and the scale S; all constant, or with the graph of the dream if `through_dream`
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dreamctl.core.limits import Share


@dataclass(frozen=True)
class ScoreFunction:
    """log π(a | s) sg((R - v) / S) (DreamerV3, actor learning; REINFORCE with a baseline)."""

    kind: ClassVar[str] = "score_function"
    through_dream: ClassVar[bool] = False

    def objective(self, log_prob: Tensor, returns: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """(N, H)."""
        return log_prob * ((returns - values) / scale).detach()


@dataclass(frozen=True)
class Dynamics:
    """(R - v) / S or R / S, differentiated through the world model down to the actions (Dreamer, section 3, learning objective).

    Attributes:
        baseline: whether v is subtracted, with its gradient, as in the first version of DreamerV3; Dreamer and DreamerV2 maximise R.
    """

    kind: ClassVar[str] = "dynamics"
    through_dream: ClassVar[bool] = True
    baseline: bool = True

    def objective(self, log_prob: Tensor, returns: Tensor, values: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG002
        """(N, H)."""
        return (returns - values if self.baseline else returns) / scale


@dataclass(frozen=True)
class Mixed:
    """ρ · score function + (1 - ρ) · dynamics (DreamerV2, actor learning).

    Attributes:
        share: ρ.
        baseline: of the dynamics.
    """

    kind: ClassVar[str] = "mixed"
    through_dream: ClassVar[bool] = True
    share: Share = 0.1
    baseline: bool = False

    def objective(self, log_prob: Tensor, returns: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """(N, H)."""
        given = log_prob, returns, values, scale
        return self.share * ScoreFunction().objective(*given) + (1 - self.share) * Dynamics(self.baseline).objective(*given)


ActorGradient = ScoreFunction | Dynamics | Mixed
