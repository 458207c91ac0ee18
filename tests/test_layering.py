"""The house keeps its floors: who may import whom, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dreamctl"
PARTS = {"world_model", "actor_critic", "replay", "envs", "video"}
MAY_IMPORT = {
    "cli": {"stages", "core"},
    "stages": {*PARTS, "nn", "core"},
    "world_model": {"nn", "core"},
    "actor_critic": {"nn", "core"},
    "replay": {"core"},
    "envs": {"core"},
    "video": {"core"},
    "nn": {"core"},
    "core": set(),
    # The package itself: `dreamctl.load`, and `python -m dreamctl`.
    "__init__": {"stages"},
    "__main__": {"cli"},
}
# Stage modules that belong to no one command; every other one is a command's, and only `run` may import it.
SHARED = {
    *("agent", "batches", "compute", "dreaming", "encoding", "environments", "experiment", "given_actions", "interleave"),
    *("learner", "listed", "output", "plan", "policy", "replacing", "resume", "tables", "train_ratio", "training"),
    *("training_stage", "window_start"),
}
# The floors inside replay/, the lowest first: each imports from itself and from those below.
FLOORS = [
    *({"format"}, {"shards"}, {"folder"}, {"streams"}, {"reader"}),
    *({"sampler", "windows"}, {"writer", "writing"}, {"figures", "editing"}, {"convert", "benchmark"}),
]


def breaches(package: Path) -> list[str]:
    """Every import that the table does not allow, as `file:line imports module`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        found += [f"{place}:{line} {breach}" for line, breach in breaches_of(path.read_text(), package, place)]
    return found


def breaches_of(source: str, package: Path, place: Path) -> list[tuple[int, str]]:
    """Line and import of each breach in one file."""
    found = imports(ast.parse(source), package, place)
    return [(line, f"imports {'.'.join(target)}") for line, target in found if not allowed(place, target)]


def imports(tree: ast.AST, package: Path, place: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Modules of ours that a file imports anywhere in it, as paths inside the package."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = [package.name, *place.parent.parts][: len(place.parent.parts) + 2 - node.level]
            base = ".".join([*(around if node.level else []), *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [node.args[0].value] if called in ("import_module", "__import__") else []
        for name in names:
            head, *inside = name.split(".")
            if head == package.name:
                yield node.lineno, module_path(package, inside)


def module_path(package: Path, names: list[str]) -> tuple[str, ...]:
    """The longest start of the names that is a module or a package, without the name taken out of it."""
    for length in range(len(names), 0, -1):
        path = package.joinpath(*names[:length])
        if path.is_dir() or path.with_suffix(".py").is_file():
            return tuple(names[:length])
    return ()


def allowed(place: Path, target: tuple[str, ...]) -> bool:
    """Whether a file may import a module, both as paths inside the package."""
    floor = place.parts[0].removesuffix(".py")
    if not target or target[0] == floor:
        others = floor == "stages" and target[1:] and target[1] not in SHARED and target[1] != place.stem
        return not others or place.stem == "run"
    return target[0] in MAY_IMPORT[floor]


def test_every_import_keeps_to_the_table() -> None:
    assert breaches(PACKAGE) == []


def test_every_folder_stands_in_the_table() -> None:
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()} <= MAY_IMPORT.keys()
    assert {path.stem for path in PACKAGE.glob("*.py")} <= MAY_IMPORT.keys()


def test_shared_stage_modules_are_there() -> None:
    assert {path.stem for path in (PACKAGE / "stages").glob("*.py")} >= SHARED


@pytest.mark.parametrize(
    ("file", "line", "target"),
    [
        ("core/errors.py", "import dreamctl.nn.blocks", "nn.blocks"),
        ("nn/blocks.py", "from dreamctl.actor_critic.model import ActorCritic", "actor_critic.model"),
        ("nn/blocks.py", "from dreamctl import world_model", "world_model"),
        ("world_model/rssm.py", "from dreamctl.actor_critic.model import ActorCritic", "actor_critic.model"),
        ("actor_critic/model.py", "from ..world_model import rssm", "world_model.rssm"),
        ("replay/reader.py", "from dreamctl.envs import driver", "envs.driver"),
        ("envs/driver.py", "from dreamctl.replay.reader import Replay", "replay.reader"),
        ("video/file.py", "def lazily():\n    from dreamctl.stages.render import render", "stages.render"),
        ("replay/reader.py", "import dreamctl.nn", "nn"),
        ("stages/collect.py", "from dreamctl.cli.app import main", "cli.app"),
        ("stages/evaluate.py", "from dreamctl.stages.collect import collect", "stages.collect"),
        ("stages/learner.py", "from . import train_wm", "stages.train_wm"),
        ("cli/__init__.py", "from dreamctl.replay import reader", "replay.reader"),
        ("cli/__init__.py", "import importlib\nimportlib.import_module('dreamctl.world_model.model')", "world_model.model"),
        ("cli/__init__.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dreamctl.envs.suite", "envs.suite"),
    ],
)
def test_a_planted_import_is_found(file: str, line: str, target: str) -> None:
    source = f"{(PACKAGE / file).read_text()}\n{line}\n"
    assert [breach for _, breach in breaches_of(source, PACKAGE, Path(file))] == [f"imports {target}"]


def test_the_replay_keeps_floors_of_its_own() -> None:
    level = {name: number for number, names in enumerate(FLOORS) for name in names}
    places = [
        path.relative_to(PACKAGE) for path in sorted((PACKAGE / "replay").rglob("*.py")) if path.parts[-2:] != ("replay", "__init__.py")
    ]
    upwards = [
        f"{place}:{line} imports {'.'.join(target)}"
        for place in places
        for line, target in imports(ast.parse((PACKAGE / place).read_text()), PACKAGE, place)
        if target[0] == "replay" and level[target[1]] > level[Path(place.parts[1]).stem]
    ]
    assert upwards == []


def test_run_may_import_the_other_stages() -> None:
    assert allowed(Path("stages/run.py"), ("stages", "collect"))
    assert not allowed(Path("stages/render.py"), ("stages", "collect"))


@pytest.mark.parametrize("part", ["replay", "envs", "video"])
def test_parts_that_handle_experience_load_no_torch(part: str) -> None:
    code = f"""
import importlib, pkgutil, sys, dreamctl.{part} as part
for module in pkgutil.walk_packages(part.__path__, "dreamctl.{part}."):
    importlib.import_module(module.name)
assert "dreamctl.core.experience" in sys.modules
sys.exit(f"loaded: {{sorted(name for name in sys.modules if name.startswith('torch'))[:3]}}" if "torch" in sys.modules else 0)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
