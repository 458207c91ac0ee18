"""The storage table and the facts of a shard are what its file says."""

from pathlib import Path

import h5py
import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.format import step_fields
from dreamctl.replay.shards.facts import Facts, alike, read_facts
from dreamctl.replay.shards.storage import stored_columns, total
from tests.replay.rows import SPEC, stream_rows, write


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return next(write(tmp_path / "r", stream_rows([5, 4]), seed=3, policy="random", command=("dreamctl", "collect")).glob("*.h5"))


def test_every_dataset_of_the_file_is_told(shard: Path) -> None:
    with h5py.File(shard) as file:
        names: list[str] = []
        file.visititems(lambda name, it: names.append(f"/{name}") if isinstance(it, h5py.Dataset) else None)
    found = {stored.path: stored for stored in stored_columns(shard)}
    assert found.keys() == set(names)
    assert {field.path for field in step_fields(SPEC)} <= found.keys()


def test_rows_sizes_and_filters_are_those_of_the_file(shard: Path) -> None:
    found = {stored.path: stored for stored in stored_columns(shard)}
    reward, start = found["/steps/reward"], found["/episodes/start"]
    assert (reward.rows, reward.decoded_bytes, reward.filters) == (9, 36, ("shuffle", "gzip-1", "fletcher32"))
    assert (start.rows, start.decoded_bytes) == (2, 16)
    with h5py.File(shard) as file:
        assert reward.bytes == file["/steps/reward"].id.get_storage_size()
    assert reward.ratio == reward.decoded_bytes / reward.bytes
    assert (found["/commit"].layout, found["/commit"].chunk_rows, found["/commit"].filters) == ("contiguous", None, ())


def test_several_files_are_added_up(tmp_path: Path) -> None:
    files = sorted(write(tmp_path / "r", stream_rows([5, 9, 4]), shard_rows=8).glob("*.h5"))
    parts = [stored for file in files for stored in stored_columns(file) if stored.path == "/steps/reward"]
    assert len(parts) == 3
    whole = total(parts)
    assert (whole.rows, whole.decoded_bytes, whole.chunk_rows) == (18, 72, 8)
    assert whole.bytes == sum(part.bytes for part in parts)


def test_facts_are_who_when_and_with_what(shard: Path) -> None:
    facts = read_facts(shard)
    assert (facts.state, facts.seed, facts.policy, facts.acted) == ("sealed", 3, "random", "random")
    assert facts.writer["argv"] == ["dreamctl", "collect"]
    assert facts.versions["h5py"] == h5py.__version__
    assert facts.parent == {}


def test_facts_are_told_in_words() -> None:
    facts = Facts("live", 1_700_000_000_500_000_000, 0, {"pid": 7, "host": "box"}, {}, {"agent": "a.ckpt", "updates": 3}, {})
    assert facts.created_at == "2023-11-14T22:13:20Z"
    assert facts.acted == "a.ckpt"
    assert facts.written_by == "pid 7 on box"


def test_facts_of_what_is_no_shard_are_refused(tmp_path: Path, shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        del file.attrs["writer"]
    with pytest.raises(InputError, match="damaged root attributes"):
        read_facts(shard)
    with pytest.raises(InputError, match="cannot read"):
        stored_columns(tmp_path / "no.h5")


def test_equal_values_are_told_once() -> None:
    assert alike([{"a": 1, "b": 2}, {"b": 2, "a": 1}, "x", 3, "x"]) == [{"b": 2, "a": 1}, "x", 3]
