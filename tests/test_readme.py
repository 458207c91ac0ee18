"""The README says what is true: the pipeline is the tested script, the commands, the tree, the exit codes and the names exist."""

import re
from pathlib import Path

import pytest

from dreamctl.core.config import load_layers, preset_names
from dreamctl.core.errors import EXIT_CODES
from dreamctl.stages.experiment import SECTIONS, resolve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^([\w-]+):", (ROOT / "examples.yaml").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_pipeline_is_shown_as_it_is_run() -> None:
    assert (ROOT / "tests/pipeline/cartpole.sh").read_text(encoding="utf-8") in README


def test_the_two_commands_are_there() -> None:
    assert "pip install -e . && dreamctl run examples.yaml:cartpole -o runs/cartpole" in README
    assert "pip install -e '.[test]' && pytest" in README


def test_the_tree_names_every_package() -> None:
    packages = [path.name for path in (ROOT / "dreamctl").iterdir() if path.is_dir() and not path.name.startswith("_")]
    assert not [name for name in packages if f"  {name}/" not in README]


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_exit_code_is_listed(code: int) -> None:
    assert f"| {code} | " in README


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_valid_experiment_that_the_readme_names(name: str) -> None:
    assert resolve(load_layers(f"{ROOT / 'examples.yaml'}:{name}", SECTIONS)).experiment.env.task
    assert name in README


def test_pictures_and_presets_exist() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
    assert "quick" in preset_names()
