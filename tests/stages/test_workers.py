"""Lanes in processes of their own: what a signal to the whole group, or the death of one of them, costs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dreamctl.replay.reader import open_replay

HANGS = """
import os, time
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Hangs(CartPoleEnv):
    def step(self, action):
        os.write(1, b"hangs\\n")  # at once: two lanes say it
        time.sleep(600)

gymnasium.register("Hangs-v0", entry_point="hangs:Hangs")
"""
FAILS = """
import multiprocessing
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Fails(CartPoleEnv):
    def __init__(self, **options):
        super().__init__(**options)
        if multiprocessing.current_process().name.endswith("-1"):
            raise RuntimeError("no licence")

gymnasium.register("Fails-v0", entry_point="fails:Fails")
"""


@contextmanager
def collector(task: str, out: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """One in a process group of its own, which is gone afterwards, and that a SIGINT interrupts also where ours ignores it."""
    command = [sys.executable, "-m", "dreamctl", "collect", task, "--num-envs", "2", "--set", "env.vectorize=async", "-q"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen(
        [*command, "--steps", "1000000", "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )
    try:
        yield child
    finally:
        signal.signal(signal.SIGINT, before)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def ended(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr."""
    said = child.communicate(timeout=60)[1]
    return child.returncode, said


def stopped(out: Path, stop: Callable[[int], object]) -> tuple[int, str]:
    """Exit code and stderr of a collector that meets with something once it has written rows."""
    with collector("CartPole-v1", out) as child:
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.h5"))) < 2 or out.stat().st_mtime > time.time() - 0.5:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.1)
        stop(child.pid)
        return ended(child)


def a_worker_of(process: int) -> int:
    """One of the processes that a process has spawned for its lanes."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return next(int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


def test_a_signal_to_the_whole_group_stops_as_one_to_the_command_does(tmp_path: Path) -> None:
    # As `timeout`, batch systems and service managers send it.
    code, said = stopped(tmp_path / "r", lambda process: os.killpg(process, signal.SIGTERM))
    assert (code, "Traceback" in said) == (75, False), said
    assert open_replay([tmp_path / "r"]).live == ()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find a worker")
def test_a_worker_that_dies_costs_one_line(tmp_path: Path) -> None:
    code, said = stopped(tmp_path / "r", lambda process: os.kill(a_worker_of(process), signal.SIGKILL))
    assert (code, said.count("\n")) == (4, 1), said
    assert "the process of a lane ended" in said
    assert open_replay([tmp_path / "r"]).live == ()


def test_a_second_interrupt_does_not_wait_for_lanes_that_hang(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    with collector("hangs:Hangs-v0", tmp_path / "r", PYTHONPATH=str(tmp_path)) as child:
        assert child.stderr
        assert child.stderr.readline() == "hangs\n"
        os.killpg(child.pid, signal.SIGINT)
        time.sleep(0.5)
        os.killpg(child.pid, signal.SIGINT)
        began = time.monotonic()
        code, said = ended(child)
    assert (code, said.replace("hangs\n", "")) == (130, "error: interrupted\n")
    assert time.monotonic() - began < 10


def test_a_lane_that_cannot_be_made_in_its_process_says_why(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    with collector("fails:Fails-v0", tmp_path / "r", PYTHONPATH=str(tmp_path)) as child:
        code, said = ended(child)
    assert code == 4, said
    assert "Traceback" not in said
    assert "cannot make 'fails:Fails-v0': RuntimeError: no licence" in said
    assert said.splitlines()[-1].startswith("error: gym:fails:Fails-v0: cannot make 2 lanes: ")
