"""Models and their learner: built from an experiment, saved into and restored from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dreamctl.actor_critic.model import ActorCritic
from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import spec_difference
from dreamctl.stages.compute import Compute
from dreamctl.stages.experiment import Experiment, recorded
from dreamctl.stages.learner import Learner
from dreamctl.world_model.model import WorldModel

Weights = dict[str, dict[str, torch.Tensor]]


def new_world_model(experiment: Experiment, spec: TaskSpec, compute: Compute) -> WorldModel:
    """A fresh world model of the task."""
    return WorldModel(experiment.world_model, spec).to(compute.device)


def new_actor_critic(experiment: Experiment, world_model: WorldModel, spec: TaskSpec, compute: Compute) -> ActorCritic:
    """A fresh actor and critic on this world model's features."""
    codec = ActionCodec(spec.action)
    return ActorCritic(experiment.actor_critic, world_model.state_size, codec, world_model.discount).to(compute.device)


def load_world_model(checkpoint: Checkpoint, path: Path, compute: Compute) -> WorldModel:
    """The world model inside a checkpoint of either kind."""
    model = new_world_model(recorded(checkpoint.config, path).experiment, checkpoint.spec, compute)
    load_weights(model, checkpoint.weights["world_model"], path)
    return model


def load_actor_critic(checkpoint: Checkpoint, path: Path, world_model: WorldModel, compute: Compute) -> ActorCritic:
    """The actor and critic inside an agent checkpoint.

    Raises:
        InputError: it holds a world model only.
    """
    weights = part_of(checkpoint, "actor_critic", path)
    model = new_actor_critic(recorded(checkpoint.config, path).experiment, world_model, checkpoint.spec, compute)
    load_weights(model, weights, path)
    return model


def part_of(checkpoint: Checkpoint, part: str, path: Path) -> Mapping[str, torch.Tensor]:
    """The weights of one part.

    Raises:
        InputError: the checkpoint is a world model, which has no actor.
    """
    if part not in checkpoint.weights:
        raise InputError(f"{path}: holds a world model without an actor; wanted an agent (written by `dreamctl train-ac` or `run`)")
    return checkpoint.weights[part]


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy weights by name.

    Raises:
        InputError: they do not fit, as `check_weights` says.
    """
    check_weights(model, weights, path)
    model.load_state_dict(dict(weights))


def check_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """See that weights fit a model.

    Raises:
        InputError: a tensor is missing, superfluous, of another shape or not finite; the first one is named.
    """
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        there, here = weights.get(name), wanted.get(name)
        if there is None or here is None or there.shape != here.shape:
            found = "is missing" if there is None else f"has shape {tuple(there.shape)}"
            need = "which this config has no place for" if here is None else f"wanted {tuple(here.shape)}"
            raise InputError(f"{path}: tensor {name} {found}, {need}; its networks are of another size")
        if there.is_floating_point() and not bool(there.isfinite().all()):
            raise InputError(f"{path}: tensor {name} holds non-finite numbers; copy or write it again")


def check_task(found: TaskSpec, found_in: Path, wanted: TaskSpec, wanted_by: Path | str) -> None:
    """Refuse artefacts of different tasks.

    Raises:
        InputError: says what differs.
    """
    difference = spec_difference(found, wanted)
    if difference:
        raise InputError(f"{found_in}: {difference} (as in {wanted_by}); give one made for the same environment")


def weights_of(world_model: WorldModel | None = None, actor_critic: ActorCritic | None = None) -> Weights:
    """All weights and buffers by part, on the CPU, for a checkpoint."""
    parts = {"world_model": world_model, "actor_critic": actor_critic}
    return {
        part: {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        for part, model in parts.items()
        if model is not None
    }


def optimizer_of(learner: Learner) -> dict[str, Any]:
    """The optimizer's state by part; a part that did not learn has none."""
    return {part: learner.optimizer.group_state(part) for part in learner.groups}


def load_optimizer(learner: Learner, state: Mapping[str, Any], path: Path) -> None:
    """Restore the optimizer's state of every part that learns here and has one there.

    Raises:
        InputError: the state does not fit.
    """
    for part in learner.groups:
        if part in state:
            try:
                learner.optimizer.load_group_state(part, state[part])
            except (KeyError, ValueError, RuntimeError) as error:
                raise InputError(f"{path}: optimizer state of {part} does not fit: {error}") from error
