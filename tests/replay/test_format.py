"""The file is the documented one: datasets, dtypes, chunks, filters, attributes, hashes."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import nested_space, space_from_json, space_to_json, spec_from_json, spec_to_json
from dreamctl.replay.format import Field, schema_from_json
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import write_episodes
from tests.replay.rows import BOX_SPEC, SPEC, dream, episode_rows, stream_rows, write

STEPS = {
    "/steps/observation/observation": ("<f4", (3,)),
    "/steps/action": ("<i8", ()),
    "/steps/reward": ("<f4", ()),
    "/steps/is_first": ("|b1", ()),
    "/steps/terminated": ("|b1", ()),
    "/steps/truncated": ("|b1", ()),
}
EPISODES = {
    **{f"/episodes/{name}": ("<i8", ()) for name in ("start", "length", "seed", "id", "segment")},
    "/episodes/return": ("<f8", ()),
    **{f"/episodes/{name}": ("|u1", ()) for name in ("terminated", "truncated", "complete")},
}
DREAMS = {f"/episodes/{name}": ("<i8", ()) for name in ("context", "source_shard", "source_row")}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return next(write(tmp_path / "replay", stream_rows([5, 4])).glob("*.h5"))


def datasets(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({f"/{name}": item}) if isinstance(item, h5py.Dataset) else None)
        return {name: (item.dtype.str, item.shape[1:]) for name, item in found.items()}


def test_a_shard_has_the_documented_datasets_and_no_other(shard: Path) -> None:
    assert datasets(shard) == {**STEPS, **EPISODES, "/commit": ("<i8", ())}


def test_imagined_files_add_context_source_truth_and_extra(tmp_path: Path) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream()], kind="imagined", parent={"horizon": 4})
    added = {"/steps/truth/observation": ("<f4", (3,)), "/steps/truth_valid": ("|b1", ())}
    added |= {"/steps/extra/value": ("<f2", ()), "/steps/extra/continue_prob": ("<f4", ())}
    assert datasets(tmp_path / "dreams.h5") == {**STEPS, **EPISODES, **DREAMS, **added, "/commit": ("<i8", ())}


def test_flags_are_a_truth_value_enum_and_small_columns_are_checksummed(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert h5py.check_enum_dtype(file["/steps/is_first"].id.get_type().dtype) is None
        assert file["/steps/is_first"].dtype == bool
        for name in ("action", "reward", "is_first", "terminated", "truncated"):
            column = file[f"/steps/{name}"]
            assert (column.compression, column.compression_opts, column.shuffle, column.fletcher32) == ("gzip", 1, True, True)
        observation = file["/steps/observation/observation"]
        assert (observation.compression, observation.compression_opts, observation.shuffle) == ("gzip", 1, False)
        assert file["/episodes/start"].compression == "gzip"
        assert file["/commit"].chunks is None


def test_commit_counts_rows_and_episodes(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert file["/commit"][:].tolist() == [9, 2, 9, 1]


@pytest.mark.parametrize(
    ("shape", "dtype", "rows"),
    [((64, 64, 3), "|u1", 16), ((4,), "<f4", 4096), ((300, 400, 3), "|u1", 16), ((4 << 20,), "<f4", 1), ((100,), "<f4", 256)],
)
def test_observation_chunks_hold_about_192_kib(shape: tuple[int, ...], dtype: str, rows: int) -> None:
    assert Field("/steps/observation/x", dtype, shape, "observation").chunk_rows(10_000) == rows


def test_root_attributes_are_byte_strings_of_fixed_length_and_numbers(shard: Path) -> None:
    with h5py.File(shard) as file:
        found = {name: file.attrs.get_id(name).dtype.kind for name in file.attrs}
    numbers = {"seq", "first_row", "created_unix_ns", "seed"}
    texts = {"format", "format_version", "state", "kind", "alignment", "stream", "writer", "versions", "env_id", "task_spec", "gym_spec"}
    texts |= {"observation_space", "action_space", "schema", "schema_id", "policy", "sealed_sha256"}
    assert found == {**dict.fromkeys(numbers, "i"), **dict.fromkeys(texts, "S")}


def test_root_attributes_say_what_they_promise(shard: Path) -> None:
    with h5py.File(shard) as file:
        text = {name: file.attrs[name].decode() for name in file.attrs if file.attrs.get_id(name).dtype.kind == "S"}
    assert (text["format"], text["format_version"], text["state"], text["kind"]) == ("dreamctl-replay", "1.0", "sealed", "env")
    assert text["alignment"] == "obs_t,reward_t,flags_t,action_t"
    assert text["env_id"] == "gym:Toy-v0"
    assert text["policy"] == '"random"'
    assert space_from_json(text["observation_space"]) == SPEC.observation["observation"]
    assert space_from_json(text["action_space"]) == SPEC.action
    assert spec_from_json(text["task_spec"]).observation == SPEC.observation
    assert shard.name == f"{text['stream']}-000000.h5"
    assert text["stream"].endswith("-e0")
    assert len(text["stream"]) == 11
    assert {"pid", "host", "boot_id", "argv"} == json.loads(text["writer"]).keys()
    assert {"dreamctl", "h5py", "hdf5", "numpy", "gymnasium", "ale_py", "git"} == json.loads(text["versions"]).keys()


def test_schema_id_and_sealed_sha256_can_be_computed_by_anyone(shard: Path) -> None:
    with h5py.File(shard) as file:
        schema = file.attrs["schema"].decode()
        canonical = json.dumps(json.loads(schema), sort_keys=True, separators=(",", ":"))
        assert file.attrs["schema_id"].decode() == hashlib.sha256(canonical.encode()).hexdigest()
        digest = hashlib.sha256()
        for item in json.loads(schema):
            rows = file["/commit"][1 if item["path"].startswith("/episodes") else 0]
            digest.update(file[item["path"]][:rows].tobytes())
        assert file.attrs["sealed_sha256"].decode() == digest.hexdigest()


def test_superblock_is_the_one_of_hdf5_1_10(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert file.id.get_create_plist().get_version()[0] == 3


def test_the_same_rows_give_the_same_content_hash(tmp_path: Path) -> None:
    one, two = (open_replay([write(tmp_path / name, stream_rows([5, 4]))]) for name in ("a", "b"))
    other = open_replay([write(tmp_path / "c", stream_rows([5, 5]))])
    assert one.content_hash() == two.content_hash() != other.content_hash()


def test_nested_observations_are_groups_and_float64_is_stored_as_float32(tmp_path: Path) -> None:
    angle, goal = np.array([0.25, -0.5]), np.float32(0.5)
    rows = [
        r.__class__(0, {"arm/angle": angle, "goal": goal}, np.array([2.5, 0], np.float32), r.reward, r.is_first, r.terminated, r.truncated)
        for r in episode_rows(0, 4)
    ]
    replay = open_replay([write(tmp_path / "replay", rows, spec=BOX_SPEC)])
    episode = replay.load(replay.episodes()[0])
    assert episode.observation["arm/angle"].dtype == np.float32
    assert episode.observation["arm/angle"].shape == (4, 2)
    assert episode.observation["goal"].shape == (4,)
    assert (episode.action[:-1] == [2.5, 0]).all()
    assert "Dict('arm': Dict('angle'" in repr(nested_space(BOX_SPEC.observation))


def test_a_space_too_long_for_an_attribute_lies_in_a_dataset(tmp_path: Path) -> None:
    spec = TaskSpec({"observation": Box(-np.inf, np.inf, (3,)), "wide": Box(0, 1, (9000,), np.float32)}, Discrete(5), "gym", "Toy-v0")
    rows = [r.__class__(**{**vars(r), "observation": {**r.observation, "wide": np.zeros(9000, "f4")}}) for r in episode_rows(0, 3)]
    path = next(write(tmp_path / "replay", rows, spec=spec).glob("*.h5"))
    with h5py.File(path) as file:
        assert bytes(file["/meta/observation_space"][:]).decode() == space_to_json(nested_space(spec.observation))
    assert spec_to_json(open_replay([path]).spec) == spec_to_json(spec)


def test_schema_json_with_a_foreign_dtype_is_refused() -> None:
    with pytest.raises(Exception, match="schema: not readable"):
        schema_from_json('[{"path":"/steps/reward","dtype":"|O","shape":[],"role":"reward"}]')
