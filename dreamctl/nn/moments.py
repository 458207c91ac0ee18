"""Optimizers of named groups of parameters, whose state is saved and restored group by group."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class GroupedOptimizer(Protocol):
    """What training asks of an optimizer."""

    def step(self) -> None:
        """One update from the gradients at hand; a parameter without one counts as zero gradient."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def group_state(self, name: str) -> dict[str, Any]:
        """One group's step count and moments, in the order of its parameters."""

    def load_group_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Restore what `group_state` gave, for the same parameters in the same order."""


class Moments:
    """The saving and restoring, for a torch optimizer whose groups hold `name` and `step` and whose state holds these moments."""

    moments: ClassVar[tuple[str, ...]]
    param_groups: list[dict[str, Any]]
    state: Any

    def group_state(self, name: str) -> dict[str, Any]:
        """One group's step count and moments, in the order of its parameters."""
        group = self._group(name)
        return {"step": group["step"], **{key: [self.state[p][key] for p in group["params"]] for key in self.moments}}

    @torch.no_grad()
    def load_group_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Restore what `group_state` gave, for the same parameters in the same order."""
        group = self._group(name)
        group["step"] = state["step"]
        for key in self.moments:
            for parameter, moment in zip(group["params"], state[key], strict=True):
                self.state[parameter][key].copy_(moment)

    def _group(self, name: str) -> dict[str, Any]:
        return next(group for group in self.param_groups if group["name"] == name)


def gradients_of(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients, zeros where there is none."""
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
