"""Adam with clipping by the norm of all gradients of a group, as the ancestors of DreamerV3 use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import nn

from dreamctl.core.limits import Share, Weight, Within
from dreamctl.nn.moments import Moments, gradients_of


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


class AdamOptimizer(Moments, torch.optim.AdamW):
    """Per group g ← g / max(1, ‖g‖ / clip), then torch's own Adam; weight decay is decoupled from the gradient."""

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], config: Adam) -> None:
        settings = {"world_model": config.world_model, "actor": config.actor, "critic": config.critic}
        named: list[dict[str, Any]] = []
        for name, parameters in groups.items():
            mine = settings[name]
            options = {"lr": mine.learning_rate, "eps": mine.eps, "weight_decay": mine.weight_decay, "clip": mine.clip}
            named.append({"name": name, "params": list(parameters), "step": 0, **options})
        super().__init__(named, betas=(config.beta1, config.beta2), foreach=True)
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            zeros = {moment: torch.zeros_like(parameter) for moment in self.moments}
            self.state[parameter] = {"step": torch.zeros(()), **zeros}

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients at hand; a parameter without one counts as zero gradient."""
        assert closure is None, "closures are not evaluated"
        for group in self.param_groups:
            group["step"] += 1
            for parameter, gradient in zip(group["params"], gradients_of(group["params"]), strict=True):
                parameter.grad = gradient
            if group["clip"]:
                nn.utils.clip_grad_norm_(group["params"], group["clip"], foreach=True)
        super().step()

    def load_group_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Restore what `group_state` gave, for the same parameters in the same order."""
        super().load_group_state(name, state)
        for parameter in self._group(name)["params"]:
            self.state[parameter]["step"].fill_(state["step"])
