"""Adam with clipping by the norm of all gradients of a group, as the ancestors of DreamerV3 use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import nn

from dreamctl.core.limits import Share, Weight, Within
from dreamctl.nn.moments import Group, GroupedOptimizer


@dataclass(frozen=True)
class AdamGroup:
    """How one of the three networks is optimized.

    Attributes:
        learning_rate: of every update.
        eps: added to the root of the squared gradient.
        clip: greatest norm of all gradients of the group together; 0 clips nothing.
        weight_decay: share of a parameter that is taken off it at an update, times the learning rate.
    """

    learning_rate: Weight = 1e-4
    eps: Weight = 1e-8
    clip: Weight = 100.0
    weight_decay: Weight = 0.0


@dataclass(frozen=True)
class Adam:
    """Adam with norm clipping, apart for world model, actor and critic (Dreamer, DreamerV2, first version of DreamerV3).

    Attributes:
        world_model, actor, critic: their settings; the defaults are those of DreamerV3's first version.
        beta1, beta2: decay of the gradient and of its square.
    """

    kind: ClassVar[str] = "adam"
    world_model: AdamGroup = field(default_factory=lambda: AdamGroup(clip=1000.0))
    actor: AdamGroup = field(default_factory=lambda: AdamGroup(3e-5, 1e-5))
    critic: AdamGroup = field(default_factory=lambda: AdamGroup(3e-5, 1e-5))
    beta1: Annotated[float, Within(0, 0.9999)] = 0.9
    beta2: Share = 0.999

    def __post_init__(self) -> None:
        if not self.beta2 < 1:
            raise ValueError(f"beta2={self.beta2}: wanted below 1")

    def optimizer(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> "AdamOptimizer":
        """A fresh optimizer of groups of parameters, named as their settings are."""
        return AdamOptimizer(groups, self)


class AdamOptimizer(GroupedOptimizer):
    """Adam (arXiv:1412.6980), the weight decay apart from the gradient; per group, with t from 1:

    g ← g / max(1, ‖g‖ / clip)                 θ ← (1 - lr · w) θ, with weight decay w
    m ← β₁ m + (1 - β₁) g                      ν ← β₂ ν + (1 - β₂) g²
    θ ← θ - lr · m / (1 - β₁ᵗ) / (√(ν / (1 - β₂ᵗ)) + ε)
    """

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], config: Adam) -> None:
        super().__init__(groups)
        self.config = config
        self._settings = {"world_model": config.world_model, "actor": config.actor, "critic": config.critic}

    def _step(self, name: str, group: Group) -> None:
        config, mine, step = self.config, self._settings[name], group.step
        parameters, gradients = group.parameters, group.gradients
        momenta, squares = (group.moments[key] for key in self.moments)
        if mine.clip:
            norm = torch.stack(torch._foreach_norm(gradients)).norm()
            gradients = list(torch._foreach_div(gradients, (norm / mine.clip).clamp_min(1.0)))
        if mine.weight_decay:
            torch._foreach_mul_(parameters, 1 - mine.learning_rate * mine.weight_decay)
        torch._foreach_lerp_(momenta, gradients, 1 - config.beta1)
        torch._foreach_mul_(squares, config.beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - config.beta2)
        scales = torch._foreach_div(squares, 1 - config.beta2**step)
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, mine.eps)
        torch._foreach_addcdiv_(parameters, momenta, scales, -mine.learning_rate / (1 - config.beta1**step))
