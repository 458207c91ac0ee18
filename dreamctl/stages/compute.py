"""Where and how precisely a stage computes, decided once and recorded."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike

from dreamctl.core.errors import UsageError
from dreamctl.core.experience import Array
from dreamctl.core.session import Session
from dreamctl.replay.streams.memory import aligned
from dreamctl.world_model.model import WorldModelConfig

T = TypeVar("T")

DEFAULT_THREADS = torch.get_num_threads()
PRECISIONS: Mapping[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Compute:
    """What `auto` chose.

    Attributes:
        device: of all tensors.
        precision: `fp32`, or `bf16` for matrix products, convolutions and the recurrent state.
        threads: torch threads.
    """

    device: torch.device
    precision: str
    threads: int

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the models, for as long as the context lasts.

        In bf16 matrix products, convolutions and the recurrent state are bfloat16. Parameters and optimizer stay float32, and so do norms,
        distributions (softmax, KL, entropy, log-probabilities, two-hot), returns and losses, which see to that themselves.
        """
        half = PRECISIONS[self.precision]
        return nullcontext() if half is None else torch.autocast(self.device.type, half)

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Memory, whatever is in it, from which the device is filled while it computes: page-locked where that is CUDA."""
        if self.device.type != "cuda":
            return aligned(shape, dtype)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        held: Array = torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy().view(dtype).reshape(shape)
        return held

    def to_json(self) -> dict[str, object]:
        """For provenance."""
        return {"device": str(self.device), "precision": self.precision, "threads": self.threads}


# Up to this width of h a second thread on the CPU only costs: 161 ms an update with one, 170 ms of two cores with two (preset `quick`).
NARROW = 256


def set_up(session: Session, model: WorldModelConfig) -> Compute:
    """Choose device and threads, and seed torch; the same seed, inputs and thread count on CPU then give the same bytes.

    Args:
        session: how the stage is run.
        model: what is going to be computed; narrow models get one thread unless the session says otherwise.

    Raises:
        UsageError: a device that is not there, or a precision that is not known.
    """
    device = _device(session.device)
    precision = _precision(session.precision, device, model)
    narrow = device.type == "cpu" and model.rssm.recurrent <= NARROW
    torch.set_num_threads(session.threads or (1 if narrow else DEFAULT_THREADS))
    torch.manual_seed(session.seed)
    return Compute(device, precision, torch.get_num_threads())


def planned(make: Callable[[Compute], T], compute: Compute) -> T:
    """What `make` builds, as shapes without numbers: the largest sizes are planned in no time."""
    nowhere = torch.device("meta")
    with nowhere:
        return make(replace(compute, device=nowhere))


def generator(compute: Compute, seed: int, *position: int) -> torch.Generator:
    """Noise that is a pure function of the seed and a position such as the number of an update, so that resuming needs no state."""
    mixed = int(np.random.SeedSequence([seed, *position]).generate_state(1, np.uint64)[0])
    return torch.Generator(compute.device).manual_seed(mixed >> 1)


def is_there(name: str) -> bool:
    """Whether a device of this name can be computed on."""
    return _kinds().get(name.partition(":")[0], False)


def _kinds() -> dict[str, bool]:
    """Kinds of devices that are known, and whether they are here."""
    return {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def as_made(session: Session, provenance: Mapping[str, object]) -> Session:
    """The session with the precision that a checkpoint was made in, unless it says otherwise itself."""
    made = str(provenance.get("precision", "auto"))
    return replace(session, precision=made) if session.precision == "auto" and made in PRECISIONS else session


def _precision(name: str, device: torch.device, model: WorldModelConfig) -> str:
    """The precision of this name; `auto` is bf16 for wide models on devices that are faster with it, fp32 otherwise.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in ("auto", *PRECISIONS):
        raise UsageError(f"--precision {name}: is not known; known: auto, {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    return "bf16" if _half_is_faster(device) and model.rssm.recurrent > NARROW else "fp32"


def _half_is_faster(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32; a CPU without instructions for it is many times slower.

    One thread of a CPU with them: an update of size12m on vectors takes 4.5 s instead of 8.8, one of preset `quick` 186 ms instead of 111.
    """
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = _kinds()
    kind = name.partition(":")[0]
    if kind not in there:
        raise UsageError(f"--device {name}: is not known; known: auto, {', '.join(there)}")
    if not there[kind]:
        raise UsageError(f"--device {name}: is not available here; available: {', '.join(k for k, ok in there.items() if ok)}")
    return torch.device(name)
