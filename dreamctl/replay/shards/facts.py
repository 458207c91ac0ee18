"""What a shard says of where it comes from: nothing that a reader goes by, all that a person asks for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py

from dreamctl.core.errors import InputError
from dreamctl.replay.shards.header import MEND, count_attribute, first_line, opened, text_attribute


@dataclass(frozen=True)
class Facts:
    """Who wrote a shard, when, and with what.

    Attributes:
        state: `live` while rows are added, otherwise `sealed`.
        created: in nanoseconds since 1970.
        writer: process, host and command line.
        versions: of what it was written with; null for what was not there.
        policy: `random`, or what a checkpoint policy is known by.
        parent: imagined rows only: what they were dreamt with and from.
    """

    state: str
    created: int
    seed: int
    writer: Mapping[str, object]
    versions: Mapping[str, object]
    policy: object
    parent: Mapping[str, object]

    @property
    def created_at(self) -> str:
        """The moment as ISO 8601 in UTC, to the second."""
        return datetime.fromtimestamp(self.created / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def acted(self) -> str:
        """The policy in words, a checkpoint with the beginning of its hash."""
        if not isinstance(self.policy, Mapping):
            return str(self.policy)
        named = [str(self.policy[key]) for key in ("agent", "path", "kind") if key in self.policy]
        return f"{named[0]} {str(self.policy.get('sha256', ''))[:12]}".rstrip() if named else json.dumps(dict(self.policy))

    @property
    def written_by(self) -> str:
        """The writing process in words."""
        return f"pid {self.writer.get('pid', '?')} on {self.writer.get('host', '?')}"


def read_facts(path: Path) -> Facts:
    """The facts of one shard, nothing else of it read.

    Raises:
        InputError: not a shard, or the attributes cannot be read.
    """
    try:
        with opened(path) as file:
            state = text_attribute(file, "state")
            created, seed = (count_attribute(file, name) for name in ("created_unix_ns", "seed"))
            writer, versions, policy = (json.loads(text_attribute(file, name)) for name in ("writer", "versions", "policy"))
            parent = json.loads(text_attribute(file, "parent")) if h5py.h5a.exists(file.id, b"parent") else {}
    except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged root attributes ({first_line(error)}); {MEND}") from error
    return Facts(state, created, seed, _mapping(writer), _mapping(versions), policy, _mapping(parent))


def alike(values: Sequence[object]) -> list[object]:
    """Each value once, in the order in which they first came."""
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def policy_of(facts: Sequence[Facts]) -> str | dict[str, object]:
    """The policy that acted in several shards; those that differ are listed."""
    policies = alike([one.policy for one in facts])
    policy = policies[0] if len(policies) == 1 else {"kind": "several", "policies": policies}
    return dict(policy) if isinstance(policy, Mapping) else str(policy)


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}
