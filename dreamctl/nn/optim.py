"""The optimizers: LaProp behind adaptive gradient clipping, and Adam; and moving averages of networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from dreamctl.nn.adam import Adam
from dreamctl.nn.moments import Group, GroupedOptimizer
from dreamctl.nn.schedules import Constant, Schedule


@dataclass(frozen=True)
class LaProp:
    """LaProp with adaptive gradient clipping and linear warm-up (DreamerV3, optimizer; LaProp: arXiv:2002.04839).

    Attributes:
        learning_rate: after warm-up.
        warmup: updates over which the rate rises from 0; the first update does not move the parameters.
        clip: a tensor's gradient norm is cut at this share of its parameter norm; 0 cuts nothing.
        min_norm: floor of that parameter norm.
        beta1, beta2, eps: momentum, decay of the squared gradient, added to its root.
        weight_decay: share of a kernel (a parameter of two or more axes) taken off it at an update, times the learning rate.
        nesterov: whether the step looks one momentum ahead.
        schedule: kind of the learning rate after warm-up.
    """

    kind: ClassVar[str] = "laprop"
    learning_rate: float = 4e-5
    warmup: int = 1000
    clip: float = 0.3
    min_norm: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-20
    weight_decay: float = 0.0
    nesterov: bool = False
    schedule: Schedule = field(default_factory=Constant)

    def __post_init__(self) -> None:
        for name in ("learning_rate", "warmup", "clip", "min_norm", "eps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: wanted at least 0")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"beta1={self.beta1}, beta2={self.beta2}: wanted both from 0 to below 1")

    def optimizer(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> "LaPropOptimizer":
        """A fresh optimizer of named groups of parameters, each with a step count of its own."""
        return LaPropOptimizer(groups, self)


Optimizer = LaProp | Adam


class LaPropOptimizer(GroupedOptimizer):
    """Per tensor, in this order, with t from 1:

    g ← g / max(1, ‖g‖ / (clip · max(min_norm, ‖θ‖)))
    ν ← β₂ ν + (1 - β₂) g²         u = g / (√(ν / (1 - β₂ᵗ)) + ε)
    m ← β₁ m + (1 - β₁) u          θ ← θ - lr_t · m / (1 - β₁ᵗ),  lr_t = lr · min(1, (t-1) / warmup)

    With weight decay w, kernels lose lr_t · w · θ besides; with nesterov, β₁ m + (1 - β₁) u of the new m stands for m in the last step;
    after the warm-up the schedule multiplies lr_t.
    """

    moments = ("square", "momentum")

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], config: LaProp) -> None:
        super().__init__(groups)
        self.config = config

    def _step(self, name: str, group: Group) -> None:  # noqa: ARG002
        config, step = self.config, group.step
        parameters, gradients = group.parameters, group.gradients
        squares, momenta = (group.moments[key] for key in self.moments)

        if config.clip:
            gradients = clip_by_norm_ratio(gradients, parameters, config.clip, config.min_norm)
        torch._foreach_mul_(squares, config.beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - config.beta2)
        scales = torch._foreach_div(squares, 1 - config.beta2**step)
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, config.eps)
        torch._foreach_mul_(momenta, config.beta1)
        normalised = torch._foreach_div(gradients, scales)
        torch._foreach_add_(momenta, normalised, alpha=1 - config.beta1)
        rate = config.learning_rate * (min(1.0, (step - 1) / config.warmup) if config.warmup else 1.0)
        rate *= config.schedule.factor(max(0, step - 1 - config.warmup))
        kernels = [p for p in parameters if p.ndim >= 2]
        if config.weight_decay and kernels:
            torch._foreach_mul_(kernels, 1 - rate * config.weight_decay)
        if config.nesterov:
            momenta = list(torch._foreach_add(torch._foreach_mul(momenta, config.beta1), normalised, alpha=1 - config.beta1))
        torch._foreach_add_(parameters, momenta, alpha=-rate / (1 - config.beta1**step))


def clip_by_norm_ratio(gradients: list[Tensor], parameters: list[Tensor], clip: float, min_norm: float) -> list[Tensor]:
    """Adaptive gradient clipping with whole-tensor norms: g / max(1, ‖g‖ / (clip · max(min_norm, ‖θ‖)))."""
    limits = torch._foreach_clamp_min(torch._foreach_norm(parameters), min_norm)
    ratios = torch._foreach_div(torch._foreach_norm(gradients), torch._foreach_mul(limits, clip))
    return list(torch._foreach_div(gradients, torch._foreach_clamp_min(ratios, 1.0)))


@torch.no_grad()
def blend_(slow: Iterable[Tensor], fast: Iterable[Tensor], rate: float) -> None:
    """Exponential moving average in place: slow ← rate · fast + (1 - rate) · slow."""
    torch._foreach_lerp_(list(slow), list(fast), rate)


@torch.no_grad()
def blend_every_(slow: Iterable[Tensor], fast: Iterable[Tensor], rate: float, every: int, calls: Tensor) -> None:
    """`blend_` at call 0, `every`, 2 `every`, ...; `calls` () counts on the device, so that nothing waits for it."""
    if every == 1:
        blend_(slow, fast, rate)
    else:
        for old, new in zip(slow, fast, strict=True):
            old.lerp_(new, rate * (calls % every == 0).to(old.dtype))
    calls.add_(1)
