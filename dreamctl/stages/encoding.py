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
    return {name: upload(codec.encode(stored[name]), device) for name, codec in codecs.items()}


def upload(array: Array, device: torch.device) -> Tensor:
    """The array as a tensor on a device; from page-locked memory the copy may still be on its way, but then in line with what follows."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=device.type == "cuda")


def decoded(spec: TaskSpec, values: Mapping[str, Tensor]) -> dict[str, Array]:
    """Name -> stored (..., *shape) from what `WorldModel.reconstruct` gives; choices are the likeliest ones."""
    codecs = {name: observation_codec(space) for name, space in spec.observation.items()}
    return {name: codec.decode(values[name].float().cpu().numpy()) for name, codec in codecs.items()}
