"""Optimizers of named groups of parameters, whose state is saved and restored group by group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


@dataclass
class Group:
    """Parameters with their step count and their moments, name -> one tensor for each parameter."""

    parameters: list[Tensor]
    moments: dict[str, list[Tensor]]
    step: int = 0

    @classmethod
    def of(cls, parameters: Sequence[nn.Parameter], moments: Sequence[str]) -> Self:
        """Moments of zero."""
        return cls(list(parameters), {name: [torch.zeros_like(p, requires_grad=False) for p in parameters] for name in moments})

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients, zeros where there is none."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]


class GroupedOptimizer:
    """What training asks of an optimizer.

    It is none of torch's own: the first of those in a process imports the compiler, seconds of every command.
    """

    moments: ClassVar[tuple[str, ...]]

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        self.groups = {name: Group.of(parameters, self.moments) for name, parameters in groups.items()}

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients at hand; a parameter without one counts as zero gradient."""
        for name, group in self.groups.items():
            group.step += 1
            self._step(name, group)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups.values():
            for parameter in group.parameters:
                parameter.grad = None

    def group_state(self, name: str) -> dict[str, Any]:
        """One group's step count and moments, in the order of its parameters."""
        return {"step": self.groups[name].step, **self.groups[name].moments}

    @torch.no_grad()
    def load_group_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Restore what `group_state` gave, for the same parameters in the same order."""
        group = self.groups[name]
        group.step = state["step"]
        for key, moments in group.moments.items():
            for moment, saved in zip(moments, state[key], strict=True):
                moment.copy_(saved)

    def _step(self, name: str, group: Group) -> None:
        """One update of one group, whose step count is already raised."""
        raise NotImplementedError
