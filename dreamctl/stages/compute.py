"""Where and how precisely a stage computes, decided once and recorded."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from dreamctl.core.errors import UsageError
from dreamctl.core.session import Session
from dreamctl.world_model.model import WorldModelConfig

DEFAULT_THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Compute:
    """What `auto` chose.

    Attributes:
        device: of all tensors.
        precision: of matrix products.
        threads: torch threads.
    """

    device: torch.device
    precision: str
    threads: int

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the models, for as long as the context lasts."""
        return nullcontext()

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
    if session.precision not in ("auto", "fp32"):
        raise UsageError(f"--precision {session.precision}: is not known; known: auto, fp32")
    device = _device(session.device)
    narrow = device.type == "cpu" and model.rssm.recurrent <= NARROW
    torch.set_num_threads(session.threads or (1 if narrow else DEFAULT_THREADS))
    torch.manual_seed(session.seed)
    return Compute(device, "fp32", torch.get_num_threads())


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
