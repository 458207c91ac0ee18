"""Suites are found by entry points, listed without import, and a bad plugin harms only itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from dreamctl.core.errors import EnvironmentFailure, UsageError
from dreamctl.envs.discovery import build_suite, load_suite, resolve, suite_name, suite_names
from dreamctl.envs.gym import Gym
from tests.envs.toy_suites import Toy

GOOD = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Good:
    difficulty: float = 1.0
    def make(self, task, *, render_mode=None):
        raise OSError("no server")
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a fake distribution: name, entry points, and the source of its module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name: str, entry_points: str, source: str | None = None, version: str = "1.2") -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[dreamctl.envs]\n{entry_points}\n")
        if source is not None:
            (tmp_path / f"{name.replace('-', '_')}.py").write_text(source)

    yield install
    for module in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[module]


def test_listing_names_distribution_and_version_and_imports_nothing(distribution) -> None:
    distribution("fake-good", "good = fake_good:Good", GOOD)
    assert ("good", "fake-good", "1.2", "fake_good:Good") in suite_names()
    assert any(entry.name == "gym" and entry.distribution == "dreamctl" for entry in suite_names())
    assert "fake_good" not in sys.modules
    assert suite_name(load_suite("good")()) == "good"
    assert suite_name(Gym()) == "gym"
    assert suite_name(Toy()) == "toy"


def test_unknown_suite_names_the_nearest(distribution) -> None:
    distribution("fake-good", "good = fake_good:Good", GOOD)
    with pytest.raises(UsageError, match="suite 'goood': is not installed; nearest: good"):
        load_suite("goood")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise RuntimeError('no\\ndisplay')", "RuntimeError: no display"),
        ("Other = 1", "AttributeError: module 'fake_broken' has no attribute 'Broken'"),
        ("Broken = 3", "is 3, wanted a frozen dataclass with make"),
        (None, "ModuleNotFoundError: No module named 'fake_broken'"),
    ],
)
def test_a_broken_suite_is_named_with_its_cause_and_others_still_work(distribution, source: str | None, cause: str) -> None:
    distribution("fake-broken", "broken = fake_broken:Broken", source)
    distribution("fake-good", "good = fake_good:Good", GOOD)
    with pytest.raises(EnvironmentFailure) as failure:
        load_suite("broken")
    message = str(failure.value)
    assert "fake-broken 1.2" in message
    assert cause in message
    assert "\n" not in message
    assert load_suite("good").__name__ == "Good"
    assert load_suite("gym") is Gym


def test_two_distributions_claiming_a_name_are_both_named(distribution) -> None:
    distribution("fake-good", "good = fake_good:Good", GOOD)
    distribution("fake-thief", "good = fake_thief:Good", GOOD, version="0.3")
    with pytest.raises(UsageError, match=r"claimed by fake-good 1\.2 .* and fake-thief 0\.3 .*; uninstall one"):
        load_suite("good")


def test_unknown_option_names_the_nearest(distribution) -> None:
    distribution("fake-good", "good = fake_good:Good", GOOD)
    cls = load_suite("good")
    assert build_suite(cls, {"difficulty": 2}) == cls(difficulty=2.0)
    with pytest.raises(UsageError, match=r"env\.dificulty: no such key; nearest: difficulty"):
        build_suite(cls, {"dificulty": 2})


def test_env_is_a_suite_and_a_task_or_a_gymnasium_id(distribution) -> None:
    distribution("fake-good", "good = fake_good:Good", GOOD)
    assert resolve("good:hop:far") == ("good", "hop:far")
    assert resolve("CartPole-v1") == ("gym", "CartPole-v1")
    assert resolve("gym:CartPole-v1") == ("gym", "CartPole-v1")
    assert resolve("tests.envs.toy_suites:Walk-v0") == ("gym", "tests.envs.toy_suites:Walk-v0")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("gim:CartPole-v1", "no suite and no Python module is called 'gim'; nearest: gym"),
        ("gym", "names a suite without a task"),
        ("gym:", "names a suite without a task"),
        (":x", "wanted SUITE:TASK"),
    ],
)
def test_env_that_cannot_be_read_says_what_is_wanted(env: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve(env)


def test_listing_loads_neither_torch_nor_a_suite() -> None:
    heavy = {"torch", "h5py", "dreamctl.envs.gym"}
    code = f"import sys, dreamctl.envs.discovery as d; d.suite_names(); print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_driving_an_environment_loads_no_torch() -> None:
    code = "import sys, dreamctl.envs.driver, dreamctl.envs.gym, dreamctl.envs.check; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
