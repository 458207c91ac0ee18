from pathlib import Path

import pytest

from dreamctl.core.session import Session
from dreamctl.stages.collect import collect
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from tests.stages.tiny import tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a replay, a world model and an agent, which tests read and never write."""
    folder = tmp_path_factory.mktemp("made")
    collect(tiny(), folder / "replay", None, Session())
    train_wm(tiny(), [folder / "replay"], folder / "wm.ckpt", None, Session())
    train_ac(tiny(), folder / "wm.ckpt", [folder / "replay"], folder / "agent.ckpt", None, Session())
    return folder


@pytest.fixture(scope="session")
def replay(made: Path) -> Path:
    """Four hundred steps of CartPole under random actions."""
    return made / "replay"


@pytest.fixture(scope="session")
def world_model(made: Path) -> Path:
    """A world model of six updates."""
    return made / "wm.ckpt"


@pytest.fixture(scope="session")
def agent(made: Path) -> Path:
    """An agent of six updates on that world model."""
    return made / "agent.ckpt"
