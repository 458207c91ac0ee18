"""Where rows come from: the root attributes that every shard of one writer shares."""

import functools
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
from gymnasium.spaces import Box

from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import nested_space, space_to_json, spec_to_json
from dreamctl.replay.format import ALIGNMENT, FORMAT, VERSION, Field, Kind, schema_id, schema_to_json
from dreamctl.replay.shards.header import LONGEST_TEXT


@dataclass(frozen=True)
class Origin:
    """What one writer says of all its shards.

    Attributes:
        spec: the task.
        kind: rows of an environment or of a dream.
        seed: of the collector.
        policy: "random" and the like, or what a checkpoint is known by; its `sha256` names it.
        command: the command line.
        gym_spec: Gymnasium's EnvSpec JSON where there is one.
        parent: imagined rows only: world-model hash, source schema and the like.
    """

    spec: TaskSpec
    kind: Kind = "env"
    seed: int = 0
    policy: str | Mapping[str, object] = "random"
    command: tuple[str, ...] = ()
    gym_spec: str = ""
    parent: Mapping[str, object] = field(default_factory=dict)

    def collector(self, salt: int = 0) -> str:
        """Eight hex digits that name the writer: same task, seed and checkpoint give the same name, `salt` another one."""
        agent = [str(self.policy["sha256"])] if isinstance(self.policy, Mapping) and "sha256" in self.policy else []
        text = json.dumps([spec_to_json(self.spec), self.kind, self.seed, salt, *agent])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def attributes(self, fields: Sequence[Field], *, stream: str, seq: int, first_row: int) -> dict[str, str | int]:
        """The root attributes of one sealed shard, all but its hash."""
        schema = schema_to_json(fields)
        named: dict[str, str | int] = {
            "format": FORMAT,
            "format_version": VERSION,
            "state": "sealed",
            "kind": self.kind,
            "alignment": ALIGNMENT,
            "stream": stream,
            "seq": seq,
            "first_row": first_row,
            "created_unix_ns": time.time_ns(),
            "writer": json.dumps({"pid": os.getpid(), "host": platform.node(), "boot_id": boot_id(), "argv": list(self.command)}),
            "versions": json.dumps(versions()),
            "env_id": self.spec.name,
            "task_spec": spec_to_json(self.spec),
            "gym_spec": self.gym_spec,
            **self._spaces,
            "schema": schema,
            "schema_id": schema_id(schema),
            "seed": self.seed,
            "policy": json.dumps(self.policy if isinstance(self.policy, str) else dict(self.policy)),
        }
        return {**named, "parent": json.dumps(dict(self.parent))} if self.kind == "imagined" else named

    @functools.cached_property
    def _spaces(self) -> dict[str, str | int]:
        """The spaces as Minari states them, bound by bound; left out where that is too long. Readers go by the task spec."""
        bounds = sum(2 * math.prod(space.shape) for space in self.spec.observation.values() if isinstance(space, Box))
        # Each bound is a digit and a comma at least: what is surely too long is not made first, which takes seconds.
        spaces = {"observation_space": nested_space(self.spec.observation)} if 2 * bounds <= LONGEST_TEXT else {}
        texts = {name: space_to_json(space) for name, space in {**spaces, "action_space": self.spec.action}.items()}
        return {name: text for name, text in texts.items() if len(text) <= LONGEST_TEXT}


@functools.cache
def versions() -> dict[str, str | None]:
    """The versions that a reader of this file may want to know; null for what is not installed."""
    names = {"dreamctl": "dreamctl", "h5py": "h5py", "numpy": "numpy", "gymnasium": "gymnasium", "ale_py": "ale-py"}
    return {**{key: _version(name) for key, name in names.items()}, "hdf5": h5py.version.hdf5_version, "git": None}


@functools.cache
def boot_id() -> str:
    """What changes when the machine restarts; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
