"""`ckpt`: what a checkpoint is."""

import json
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.checkpoint import VERSION, Checkpoint
from dreamctl.core.spaces import spec_to_json


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint without its tensors."""

    file: Path
    checkpoint: Checkpoint
    size: int

    @property
    def path(self) -> Path:
        """The file."""
        return self.file

    def to_json(self) -> dict[str, object]:
        """As one object."""
        it = self.checkpoint
        counters = {"updates": it.updates, "env_steps": it.env_steps, "frames": it.env_steps * it.spec.action_repeat}
        what = {"path": str(self.file), "kind": it.kind, "env": it.spec.name, **counters, "format_version": list(VERSION)}
        spec = json.loads(spec_to_json(it.spec))
        return {**what, "parameters": it.sizes, "bytes": self.size, "spec": spec, "config": it.config, "provenance": dict(it.provenance)}

    def summary(self) -> str:
        """A few lines."""
        it = self.checkpoint
        made = it.provenance
        frames = "" if it.spec.action_repeat == 1 else f" ({it.env_steps * it.spec.action_repeat} frames)"
        versions = ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())
        lines = {
            "": f"{it.kind.replace('_', ' ')} for {it.spec.name}",
            "trained": f"{it.updates} updates on {it.env_steps} environment steps{frames}",
            "weights": ", ".join(f"{part} {count:,}" for part, count in it.sizes.items()) + f"; file {self.size / 1e6:.1f} MB",
            "observation": ", ".join(f"{name} {space}" for name, space in it.spec.observation.items()),
            "action": str(it.spec.action),
            "made by": " ".join(made.get("command", [])),
            "seed": str(made.get("seed", "")),
            "inputs": ", ".join(f"{name} {str(content)[:12]}" for name, content in made.get("inputs", {}).items()),
            "versions": versions,
        }
        return f"{self.file}: {lines.pop('')}\n" + "\n".join(f"  {label:<11}  {text}" for label, text in lines.items() if text)


def show(file: Path) -> CheckpointInfo:
    """What a checkpoint of either kind says of itself.

    Raises:
        InputError: it is none, or is damaged.
    """
    return CheckpointInfo(file, Checkpoint.load(file), file.stat().st_size)
