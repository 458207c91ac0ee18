"""What costs nothing must stay so: help, version, listings."""

import re
import resource
import statistics
import subprocess
import sys

import pytest
import typer

from dreamctl.cli.app import app
from dreamctl.core.errors import EXIT_CODES

SHOW_MODULES = """
import sys
from dreamctl.cli.app import app
try:
    app({arguments}, prog_name="dreamctl")
except SystemExit:
    print("LOADED", *sys.modules)
"""


def loaded_by(arguments: list[str], cwd) -> set[str]:
    code = SHOW_MODULES.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd)
    return {name.partition(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["collect", "--help"], ["data", "--help"], ["--show-completion", "bash"]])
def test_help_loads_nothing_heavy(arguments, tmp_path):
    assert not loaded_by(arguments, tmp_path) & {"torch", "h5py", "gymnasium", "numpy", "yaml", "PIL"}


def test_listings_never_load_torch(story):
    assert "torch" not in loaded_by(["envs", "list"], story.folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "replay"],
        ["ls", "replay"],
        ["ls", "--episodes", "replay"],
        ["schema", "replay"],
        ["stats", "replay"],
        ["verify", "--deep", "replay"],
        ["tail", "replay"],
        ["tail", "--rows", "replay"],
        ["sample", "replay", "--preset", "quick", "--set", "replay.batch_size=2"],
        ["diff", "replay", "replay"],
        ["repair", "replay"],
    ],
    ids=" ".join,
)
def test_looking_at_a_replay_never_loads_torch(arguments, story):
    assert "torch" not in loaded_by(["data", *arguments], story.folder)


def test_help_takes_less_than_a_third_of_a_second():
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "dreamctl", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(seconds() for _ in range(5)) < 0.3


def test_exit_codes_are_in_the_help(dreamctl):
    text = dreamctl("--help").stdout
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^\s*{code}  {re.escape(meaning)}", text, re.MULTILINE), code


def commands() -> list[list[str]]:
    root = typer.main.get_command(app).commands
    return [
        [name, *below] for name, it in root.items() for below in ([[inner] for inner in it.commands] if hasattr(it, "commands") else [[]])
    ]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_and_the_two_ways_to_print(command, dreamctl):
    ran = dreamctl([*command, "--help"])
    assert ran.code == 0
    assert "--json" in ran.stdout
    assert "--quiet" in ran.stdout


def test_version_is_the_package_s(dreamctl):
    from dreamctl import __version__

    assert dreamctl("--version").stdout == f"dreamctl {__version__}\n"


def test_the_package_is_lazy_and_knows_its_names(tmp_path):
    code = "import sys, dreamctl; assert 'load' in dreamctl.__all__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    import dreamctl

    assert callable(dreamctl.load)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dreamctl.nothing
