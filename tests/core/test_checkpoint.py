"""Checkpoints: what is saved comes back, and whatever is not one is told apart in one line."""

import errno
import os
from pathlib import Path

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError, OutputError
from dreamctl.core.experience import TaskSpec


def checkpoint(**fields) -> Checkpoint:
    spec = TaskSpec({"observation": Box(-1, 1, (3,))}, Discrete(2), "gym", "Toy-v0")
    weights = {"world_model": {"w": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}}
    state = {"rng": torch.get_rng_state(), "done": 5, "nested": {"list": [1, 2.5, None]}}
    given = {
        "kind": "world_model",
        "updates": 7,
        "env_steps": 100,
        "config": {"a": {"b": 1e-4}},
        "spec": spec,
        "weights": weights,
        "state": state,
    }
    return Checkpoint(**{**given, **fields})


def test_a_checkpoint_comes_back(tmp_path):
    saved = checkpoint(optimizer={"world_model": {"step": 7, "moments": [torch.ones(2)]}}, provenance={"inputs": {"replay": "ab"}})
    saved.save(tmp_path / "a.ckpt")
    loaded = Checkpoint.load(tmp_path / "a.ckpt", "world_model")
    assert loaded.spec == saved.spec
    assert (loaded.kind, loaded.updates, loaded.env_steps, loaded.config) == ("world_model", 7, 100, {"a": {"b": 1e-4}})
    assert torch.equal(loaded.weights["world_model"]["w"], saved.weights["world_model"]["w"])
    assert loaded.state["nested"] == {"list": [1, 2.5, None]}
    assert torch.equal(loaded.optimizer["world_model"]["moments"][0], torch.ones(2))
    assert loaded.sizes == {"world_model": 7}


def test_the_same_content_is_the_same_bytes(tmp_path):
    for name in "ab":
        checkpoint().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_view_does_not_drag_its_buffer_into_the_file(tmp_path):
    checkpoint(weights={"world_model": {"w": torch.zeros(1_000_000)[:3]}}).save(tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").stat().st_size < 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, this is text", "is not a checkpoint; a checkpoint is needed here"),
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n....", "is a replay; a checkpoint is needed here .written by `dreamctl train-wm` or `train-ac`"),
        (b"PK\x03\x04rubbish", "is damaged or cut short"),
    ],
)
def test_a_file_of_another_sort_is_told_apart(tmp_path, content, message):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Checkpoint.load(path)


def test_a_missing_file_and_folders_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        Checkpoint.load(tmp_path / "none")
    with pytest.raises(InputError, match="is a folder"):
        Checkpoint.load(tmp_path)
    (tmp_path / "a.h5").touch()
    with pytest.raises(InputError, match="is a replay"):
        Checkpoint.load(tmp_path)


def test_a_cut_file_is_damaged(tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="is damaged or cut short"):
        Checkpoint.load(path)


def test_no_code_is_executed(tmp_path):
    torch.save({"format": "dreamctl-checkpoint", "x": Path("a")}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="more than tensors and plain values"):
        Checkpoint.load(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a dreamctl checkpoint"),
        ({"version": [2, 0]}, r"is of format 2\.0, this dreamctl reads up to 1\.x; upgrade"),
        ({"version": "new"}, "format version is 'new'"),
        ({"kind": "poem"}, "no known kind"),
        ({"weights": None}, "has no weights"),
        ({"weights": {}}, "no known kind"),
        ({"config": [1]}, "config is of type list; is damaged"),
        ({"spec": 7}, "spec is of type int; is damaged"),
        ({"spec": "{}"}, r"a\.ckpt: task spec: not readable .*; is damaged"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(tmp_path, change, message):
    path = tmp_path / "a.ckpt"
    checkpoint().save(path)
    content = {**torch.load(path, weights_only=True), **change}
    torch.save({name: value for name, value in content.items() if value is not None}, path)
    with pytest.raises(InputError, match=message):
        Checkpoint.load(path)


def test_a_newer_minor_version_loads(tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint().save(path)
    torch.save({**torch.load(path, weights_only=True), "version": [1, 9], "novelty": 1}, path)
    assert Checkpoint.load(path).updates == 7


def test_the_wrong_kind_names_who_writes_the_right_one(tmp_path):
    checkpoint().save(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"is a checkpoint of kind world model; wanted agent .written by `dreamctl train-ac`"):
        Checkpoint.load(tmp_path / "a.ckpt", "agent")


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    checkpoint(updates=1).save(path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            checkpoint(updates=2).save(path)
    assert Checkpoint.load(path).updates == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_disk_that_fills_up_during_the_write_is_an_output_error(tmp_path, monkeypatch):
    class Full:
        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self) -> None: ...

    monkeypatch.setattr("dreamctl.core.checkpoint.write_whole", lambda _, write: write(Full()))
    with pytest.raises(OSError, match="No space left"):
        checkpoint().save(tmp_path / "a.ckpt")


def test_a_byte_that_flipped_inside_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint(weights={"world_model": {"w": torch.ones(1000)}}).save(path)
    content = bytearray(path.read_bytes())
    place = content.index(torch.ones(1000).numpy().tobytes())
    content[place + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged at"):
        Checkpoint.load(path)
