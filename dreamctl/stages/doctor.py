"""`doctor`: whether this installation can do its work."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from dreamctl.core.errors import DreamctlError
from dreamctl.core.provenance import versions
from dreamctl.envs.discovery import load_suite, suite_names

Outcome = Literal["ok", "missing", "failed"]
LOW_DISK = 1e9
DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='.1' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any(), "the frame is black"
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `missing` is what can be installed and need not be."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Health:
    """Everything that was looked at."""

    findings: Sequence[Finding]
    path: Path | None = None

    @property
    def failed(self) -> list[str]:
        """Names of what does not work."""
        return [finding.name for finding in self.findings if finding.outcome == "failed"]

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"failed": self.failed, "findings": [asdict(finding) for finding in self.findings]}

    def summary(self) -> str:
        """One line a finding."""
        width = max(len(finding.name) for finding in self.findings)
        return "\n".join(f"{finding.outcome:<7}  {finding.name:<{width}}  {finding.detail}" for finding in self.findings)


def examine() -> Health:
    """Look at versions, devices, drawing, extras, plugins and disk."""
    looks: list[Callable[[], list[Finding]]] = [_versions, _devices, _gl, _extras, _plugins, _disk]
    return Health([finding for look in looks for finding in look()])


def _versions() -> list[Finding]:
    return [Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions().items()))]


def _devices() -> list[Finding]:
    import torch

    there = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [Finding("devices", "ok", ", ".join([*there, f"cpu: {cores} cores, {torch.get_num_threads()} threads"]))]


def _gl() -> list[Finding]:
    """One frame, drawn in a process of its own: a back end that does not work may end it."""
    if find_spec("mujoco") is None:
        return [Finding("OpenGL", "missing", "mujoco is not installed; only its environments need it")]
    backend = os.environ.get("MUJOCO_GL", "egl")
    environment = {**os.environ, "MUJOCO_GL": backend}
    try:
        done = subprocess.run([sys.executable, "-c", DRAW], env=environment, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return [Finding("OpenGL", "failed", f"MUJOCO_GL={backend}: drew no frame in two minutes; try MUJOCO_GL=osmesa")]
    if done.returncode == 0:
        return [Finding("OpenGL", "ok", f"MUJOCO_GL={backend} draws a frame")]
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return [Finding("OpenGL", "failed", f"MUJOCO_GL={backend}: {reason}; install libegl1, or set MUJOCO_GL=osmesa or glfw")]


def _extras() -> list[Finding]:
    extras = {"video": "imageio_ffmpeg", "tensorboard": "tensorboard"}
    return [
        Finding(f"extra {extra}", *(("ok", "installed") if find_spec(module) else ("missing", f"pip install 'dreamctl[{extra}]'")))
        for extra, module in extras.items()
    ]


def _plugins() -> list[Finding]:
    """Every suite is imported; two that claim one name are told with it."""
    findings = []
    for name in dict.fromkeys(entry.name for entry in suite_names()):
        try:
            load_suite(name)
        except DreamctlError as error:
            findings.append(Finding(f"suite {name}", "failed", str(error)))
        else:
            entry = next(entry for entry in suite_names() if entry.name == name)
            findings.append(Finding(f"suite {name}", "ok", f"{entry.distribution} {entry.version}"))
    return findings


def _disk() -> list[Finding]:
    findings = []
    for name, folder in {"working folder": Path.cwd(), "temporary folder": Path(tempfile.gettempdir())}.items():
        free = shutil.disk_usage(folder).free
        writable = os.access(folder, os.W_OK)
        outcome: Outcome = "ok" if free > LOW_DISK and writable else "failed"
        findings.append(Finding(name, outcome, f"{folder}: {free / 1e9:.1f} GB free{'' if writable else ', not writable'}"))
    return findings
