"""Stored observations <-> what the world model reads and gives back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from dreamctl.core.codec import observation_codec
from dreamctl.core.experience import Array, TaskSpec


def encoded(spec: TaskSpec, stored: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Name -> (..., size) float32 numbers, or (..., height, width, channels) uint8 of an image, from stored (..., *shape)."""
    codecs = {name: observation_codec(space) for name, space in spec.observation.items()}
    return {name: torch.from_numpy(np.ascontiguousarray(codec.encode(stored[name]))).to(device) for name, codec in codecs.items()}


def decoded(spec: TaskSpec, values: Mapping[str, Tensor]) -> dict[str, Array]:
    """Name -> stored (..., *shape) from what `WorldModel.reconstruct` gives; choices are the likeliest ones."""
    codecs = {name: observation_codec(space) for name, space in spec.observation.items()}
    return {name: codec.decode(values[name].float().cpu().numpy()) for name, codec in codecs.items()}
