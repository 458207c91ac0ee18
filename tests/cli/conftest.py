"""Runs commands in this process, as a user would type them, and a small finished story to look at."""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dreamctl.cli.app import app

TINY = str(Path(__file__).parents[2] / "examples.yaml") + ":tiny"


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict:
        """The result as one object."""
        return json.loads(self.stdout)


Run = Callable[[str | Sequence[str]], Ran]


def run_command(line: str | Sequence[str]) -> Ran:
    result = CliRunner().invoke(app, shlex.split(line) if isinstance(line, str) else list(line), prog_name="dreamctl")
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def dreamctl() -> Run:
    """Run a command line without `dreamctl` in front."""
    return run_command


@dataclass(frozen=True)
class Story:
    """Files of a finished tiny story."""

    folder: Path
    config: str = f"--config {TINY} --threads 1"

    def __getattr__(self, name: str) -> Path:
        names = {"replay": "replay", "world_model": "wm.ckpt", "agent": "agent.ckpt", "dreams": "dreams.h5"}
        return self.folder / names[name]


@pytest.fixture(scope="session")
def story(tmp_path_factory) -> Story:
    """collect, train-wm, train-ac and imagine on CartPole, in a few seconds."""
    story = Story(tmp_path_factory.mktemp("story"))
    for line in (
        f"collect -o {story.replay}",
        f"train-wm {story.replay} -o {story.world_model}",
        f"train-ac {story.world_model} {story.replay} -o {story.agent}",
        f"imagine {story.agent} {story.replay} -o {story.dreams}",
    ):
        ran = run_command(f"{line} {story.config}")
        assert ran.code == 0, ran.stderr
    return story
