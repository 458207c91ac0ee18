"""Checkpoints: one file of tensors and plain values that says what it is, read without executing code.

A file is `torch.save` of one mapping: `format`, `version` [major, minor], `spec` as JSON text, and the other fields of `Checkpoint` as
they are.
"""

import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import torch
from torch import Tensor

from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.files import write_whole
from dreamctl.core.spaces import spec_from_json, spec_to_json

FORMAT = "dreamctl-checkpoint"
VERSION = (1, 0)
Kind = Literal["world_model", "agent"]
WRITTEN_BY = "written by `dreamctl train-wm` or `train-ac`"
HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a later stage, or the same stage resumed, needs.

    Attributes:
        kind: an agent contains its world model.
        updates: gradient updates behind it, those of the checkpoints it was started from included.
        env_steps: actions in the environment behind its data.
        config: the complete experiment as plain values.
        spec: the task.
        weights: part -> name -> tensor; normalisers, standardisation and the slow critic are among them.
        optimizer: part -> state.
        state: what resuming needs besides: counters, random states, sampler position.
        provenance: versions, command line, seed, device and the hash of each input.
    """

    kind: Kind
    updates: int
    env_steps: int
    config: dict[str, Any]
    spec: TaskSpec
    weights: Mapping[str, Mapping[str, Tensor]]
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Checkpoint({self.kind}, {self.spec.name}, updates={self.updates}, env_steps={self.env_steps}, parameters={self.sizes})"

    @property
    def sizes(self) -> dict[str, int]:
        """Part -> how many numbers its weights are."""
        return {part: sum(tensor.numel() for tensor in weights.values()) for part, weights in self.weights.items()}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: it cannot be written; an older file of that name is untouched.
        """
        fields = {**vars(self), "spec": spec_to_json(self.spec)}
        content = {"format": FORMAT, "version": list(VERSION), **{name: _compact(value) for name, value in fields.items()}}
        write_whole(path, lambda file: _save(content, file))

    @classmethod
    def load(cls, path: Path, kind: Kind | None = None) -> "Checkpoint":
        """Read a file onto the CPU.

        Args:
            path: the file.
            kind: the kind that is needed; None takes both.

        Raises:
            InputError: missing, not a checkpoint, damaged, of a newer major version, or of the other kind.
        """
        content = _read(path)
        _check_version(path, content)
        _check_fields(path, content)
        if kind and content["kind"] != kind:
            found, wanted = content["kind"].replace("_", " "), kind.replace("_", " ")
            raise InputError(f"{path}: is a checkpoint of kind {found}; wanted {wanted} (written by `dreamctl {WRITERS[kind]}`)")
        fields = {name: content[name] for name in cls.__dataclass_fields__}
        try:
            return cls(**{**fields, "spec": spec_from_json(content["spec"])})
        except InputError as error:
            raise InputError(f"{path}: {error}; is damaged, write it again") from error


WRITERS = {"world_model": "train-wm", "agent": "train-ac"}


class _Sink:
    """A file that remembers why it could not be written: torch's own message is about positions in a zip."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _save(content: Mapping[str, Any], file: BinaryIO) -> None:
    sink = _Sink(file)
    try:
        torch.save(content, sink)  # type: ignore[arg-type]
    except RuntimeError as error:
        if sink.failure is not None:
            raise sink.failure from error
        raise


def _compact(value: Any) -> Any:
    """Tensors on the CPU, each with a storage of its own, so that a view does not drag its whole buffer into the file."""
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
    if isinstance(value, Mapping):
        return {key: _compact(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_compact(part) for part in value]
    return value


def _read(path: Path) -> dict[str, Any]:
    """The mapping in a file that torch wrote."""
    if path.is_dir():
        what = "is a replay" if any(path.glob("*.h5")) else "is a folder"
        raise InputError(f"{path} {what}; a checkpoint is needed here ({WRITTEN_BY})")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a checkpoint ({WRITTEN_BY})") from error
    if not head.startswith(ZIP):
        what = "is a replay" if head == HDF5 else "is empty" if not head else "is not a checkpoint"
        raise InputError(f"{path} {what}; a checkpoint is needed here ({WRITTEN_BY})")
    _check_sums(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: holds more than tensors and plain values; wanted a checkpoint ({WRITTEN_BY})") from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: is damaged or cut short; copy or write it again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: is a PyTorch file but not a dreamctl checkpoint; wanted one {WRITTEN_BY}")
    return content


def _check_sums(path: Path) -> None:
    """See that every part of the file has the checksum that was written with it; torch itself does not look."""
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise InputError(f"{path}: is damaged or cut short; copy or write it again") from error
    if damaged is not None:
        raise InputError(f"{path}: is damaged at {damaged}; copy or write it again")


def _check_fields(path: Path, content: Mapping[str, Any]) -> None:
    """Every field is there and of its type; how tensors fit is for those to say who build networks."""
    for name in Checkpoint.__dataclass_fields__:
        if name not in content:
            raise InputError(f"{path}: has no {name}; is damaged, write it again")
        wanted = {"kind": str, "spec": str, "updates": int, "env_steps": int}.get(name, dict)
        if not isinstance(content[name], wanted):
            raise InputError(f"{path}: {name} is of type {type(content[name]).__name__}; is damaged, write it again")
    if content["kind"] not in get_args(Kind) or "world_model" not in content["weights"]:
        raise InputError(f"{path}: is of no known kind; is damaged, write it again")


def _check_version(path: Path, content: Mapping[str, Any]) -> None:
    version = content.get("version")
    if not (isinstance(version, list) and len(version) == 2 and all(isinstance(number, int) for number in version)):
        raise InputError(f"{path}: format version is {version!r}; is damaged, write it again")
    if version[0] > VERSION[0]:
        raise InputError(f"{path}: is of format {version[0]}.{version[1]}, this dreamctl reads up to {VERSION[0]}.x; upgrade dreamctl")
