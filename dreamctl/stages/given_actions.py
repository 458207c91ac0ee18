"""Actions of a dream that no actor chooses: what was recorded, drawn, or told by the user."""

from collections.abc import Mapping

import numpy as np

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.experience import Array, Episode
from dreamctl.core.spaces import vector_size
from dreamctl.stages.experiment import ImagineConfig


def given_actions(codec: ActionCodec, rows: Episode, config: ImagineConfig, kind: str, *, seed: int, horizon: int) -> Array:
    """Actions in environment units, (horizon, *action) or more.

    Args:
        codec: of the action space.
        rows: what was recorded, the context in front.
        config: section imagine.
        kind: recorded, random, constant or file.
        seed: of random actions.
        horizon: imagined steps.

    Raises:
        UsageError: the constant action or the file does not fit the space.
        InputError: the file cannot be read.
    """
    if kind == "recorded":
        return rows.action[config.context - 1 :]
    if kind == "random":
        return codec.random(np.random.default_rng([seed, 0]), horizon)
    if kind == "constant":
        values = np.array([config.action], np.float64)
        if values.size != codec.flat_size:
            leaves = ", ".join(f"{name} ({vector_size(leaf.space)})" for name, leaf in codec.leaves.items())
            wanted = f"{codec.flat_size}{f': {leaves}' if codec.nested else ''}"
            raise UsageError(f"imagine.action: holds {values.size} numbers, wanted {wanted}")
        return _within(codec, codec.flat_columns(values), "imagine.action")
    if not config.file:
        raise UsageError("imagine.actions=file: imagine.file is empty; give a .npy file of actions")
    try:
        actions: Array = np.load(config.file, allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not an array of numbers"
        raise InputError(f"imagine.file={config.file}: cannot be read as .npy ({reason}); write it with numpy.save") from error
    columns = _file_columns(codec, actions)
    if columns is None or len(actions) < horizon:
        found = f"{actions.dtype.names} {actions.shape}" if actions.dtype.names else f"{actions.shape}"
        wanted = f"{(horizon, codec.flat_size)}, or the fields {', '.join(codec.leaves)}" if codec.nested else f"{(horizon, *codec.shape)}"
        raise UsageError(f"imagine.file={config.file}: has shape {found}, wanted at least {wanted}")
    return _within(codec, columns, f"imagine.file={config.file}")


def _file_columns(codec: ActionCodec, actions: Array) -> dict[str, Array] | None:
    """The leaves of actions given in the stored form, or a nested one as rows of all its numbers; None where they do not fit."""
    if not codec.nested:
        return {"action": actions} if actions.ndim and actions.shape[1:] == codec.shape else None
    if actions.dtype.names is None:
        return codec.flat_columns(actions) if actions.shape[1:] == (codec.flat_size,) else None
    if set(actions.dtype.names) != set(codec.leaves) or actions.ndim != 1:
        return None
    columns = codec.columns(actions)
    return columns if all(columns[name].shape[1:] == leaf.shape for name, leaf in codec.leaves.items()) else None


def _within(codec: ActionCodec, columns: Mapping[str, Array], where: str) -> Array:
    """The actions as they are stored.

    Raises:
        UsageError: a number is not finite, or no choice that there is.
    """
    for name, leaf in codec.leaves.items():
        column = columns[name]
        wrong = leaf.outside(column) if column.dtype.kind in "iufb" else np.ones(column.shape, np.bool_)
        if wrong.any():
            raise UsageError(f"{where}: holds {column[wrong].flat[0]}, wanted actions in {codec.space}")
    return codec.from_columns(columns)
