"""Outputs with one writer at a time, and a message that names who holds one up."""

import gc
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dreamctl.core import locks
from dreamctl.core.errors import OutputError
from dreamctl.core.locks import holder, lock_beside, lock_file, sole_writer, try_lock

OTHER = """
import sys
from pathlib import Path
from dreamctl.core.errors import OutputError
from dreamctl.core.locks import sole_writer
try:
    with sole_writer(Path(sys.argv[1])):
        print("wrote", flush=True)
        if len(sys.argv) > 2:
            sys.stdin.read()
except OutputError as error:
    print(error.code, error)
"""


def another(path: Path) -> str:
    return subprocess.run([sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, check=True).stdout.strip()


def test_an_output_has_one_writer_at_a_time_and_its_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with sole_writer(path):
        found = another(path)
        who = rf"pid {os.getpid()} on {re.escape(platform.node())} since \d\d:\d\d \(.+\)"
        assert re.fullmatch(
            rf"74 {re.escape(str(path))}: another process writes it: {who}; wait for it, stop it, or choose another --out", found
        )
        assert another(tmp_path / "deep" / "other") == "wrote"
    assert another(path) == "wrote"
    assert list(path.parent.iterdir()) == []


def test_a_path_without_a_name_has_its_lock_beside_the_folder_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run")
    assert lock_beside(Path()) == lock_beside(Path("deep/..")) == tmp_path / ".run.lock"
    assert lock_beside(Path("/")) == Path("/..lock")


def test_the_lock_of_a_process_that_was_killed_is_free_whatever_its_file_says(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path / "run"), "stay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "wrote\n"
    assert f"pid {other.pid} on" in str(holder(tmp_path / ".run.lock"))
    assert try_lock(tmp_path / ".run.lock") is None
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert (tmp_path / ".run.lock").read_text() != ""
    assert holder(tmp_path / ".run.lock") is None
    with sole_writer(tmp_path / "run"):
        pass


def test_one_process_does_not_take_its_own_lock_twice(tmp_path: Path) -> None:
    lock = lock_file(tmp_path / "lock", tmp_path / "out")
    assert try_lock(tmp_path / "lock") is None
    with pytest.raises(OutputError, match="out: this process writes it already; wait for it"):
        lock_file(tmp_path / "lock", tmp_path / "out")
    lock.release()
    lock.release()
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_is_forgotten_is_free(tmp_path: Path) -> None:
    lock = try_lock(tmp_path / "lock")
    assert lock is not None
    del lock
    gc.collect()
    assert try_lock(tmp_path / "lock") is not None


def test_asking_who_holds_a_lock_does_not_lose_it(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run"):
        assert holder(tmp_path / ".run.lock") == "this process writes it already"
        assert another(tmp_path / "run").startswith("74")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_lock_of_another_user_is_no_free_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with sole_writer(tmp_path / "run"):
        assert as_nobody(tmp_path / ".run.lock").startswith(f"another process writes it: pid {os.getpid()} on")
        (tmp_path / ".run.lock").chmod(0o600)
        assert as_nobody(tmp_path / ".run.lock") == "another user's process may write it"
        assert another(tmp_path / "run").startswith("74")


def as_nobody(path: Path) -> str:
    """Who holds a lock, asked by a user who owns nothing."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            locks._held.clear()
            os.chdir(path.parent)  # the folders above let nobody else in
            os.setuid(65534)
            os.write(writing, str(holder(Path(path.name))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        return told.read()


def test_asking_does_not_lose_a_lock_that_another_thread_takes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, taken = tmp_path / ".run.lock", []
    path.touch()
    taker = threading.Thread(target=lambda: taken.append(try_lock(path)))
    is_ours = locks._is_ours

    def overtaken(asked: Path) -> bool:
        ours = is_ours(asked)
        monkeypatch.setattr(locks, "_is_ours", is_ours)
        taker.start()
        taker.join(0.2)
        return ours

    monkeypatch.setattr(locks, "_is_ours", overtaken)
    holder(path)
    taker.join()
    assert len(taken) == 1
    assert another(tmp_path / "run").startswith("74")


def test_an_error_inside_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="mine"), sole_writer(tmp_path / "run"):
        raise OutputError("mine")


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"), sole_writer(tmp_path / "file" / "run"):
        pass


def test_a_lock_of_the_same_name_that_another_process_took_elsewhere_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    lock = lock_file(tmp_path / "folder" / "lock", tmp_path / "folder")
    (tmp_path / "folder").rename(tmp_path / "moved")
    (tmp_path / "folder").mkdir()
    other = lock_file(tmp_path / "folder" / "lock", tmp_path / "folder")
    lock.release()
    assert (tmp_path / "folder" / "lock").exists()
    other.release()


def test_the_child_of_a_fork_does_not_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    lock = lock_file(tmp_path / "lock", tmp_path / "out")
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "lock").exists()
    lock.release()
    assert not (tmp_path / "lock").exists()
