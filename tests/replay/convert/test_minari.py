"""Datasets that Minari's own collector recorded come in, and go out as they were; `data/` holds two of them.

`cartpole-v0` has a seed of 64 bits and an episode that the collector cut; `mixed-v0` has a Dict with a Tuple, doubles, images as JPEG,
and infos.
"""

import io
import json
import os
import random
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.experience import TaskSpec
from dreamctl.replay.convert.kinds import OurReplay, ToFile, ToReplay
from dreamctl.replay.convert.minari import Minari
from dreamctl.replay.convert.minari_export import ToMinari
from dreamctl.replay.reader import Replay, open_replay

DATA = Path(__file__).parent / "data"
STATED = ("total_episodes", "total_steps", "data_format", "observation_space", "action_space", "env_spec", "minari_version")


def come_in(dataset: Path, target: Path, *, notes: list[str] | None = None, spec: TaskSpec | None = None, **options: object) -> Replay:
    note = (notes if notes is not None else []).append
    with Minari(**options).read(dataset, spec, note) as recording:  # type: ignore[arg-type]
        (ToFile() if target.suffix == ".h5" else ToReplay()).write(recording, target, target)
    return open_replay([target])


def go_out(replay: Path, target: Path, **told: object) -> Path:
    with OurReplay().read(replay, None, print) as recording:
        ToMinari(**told).write(recording, target, target)  # type: ignore[arg-type]
    return target


def tree(dataset: Path) -> dict[str, object]:
    """Everything in the HDF5 file of a dataset by name; images decoded."""
    found: dict[str, object] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        found.update({f"{name}@{key}": value for key, value in node.attrs.items() if not key.startswith("options")})
        if isinstance(node, h5py.Dataset):
            found[name] = node[()]
            if node.dtype == object or (name.endswith("image") and node.ndim == 2):
                found[name] = np.stack([np.array(Image.open(io.BytesIO(row.tobytes()))) for row in node[()]])
        else:
            found[name] = sorted(node)

    with h5py.File(dataset / "data" / "main_data.hdf5") as file:
        file.visititems(visit)
    return found


def copied(name: str, folder: Path) -> tuple[Path, Path]:
    """A copy of a recorded dataset, and its HDF5 file."""
    shutil.copytree(DATA / name, folder / name)
    return folder / name, folder / name / "data" / "main_data.hdf5"


@pytest.mark.parametrize("name", ["cartpole-v0", "mixed-v0"])
@pytest.mark.parametrize("way", ["replay", "replay.h5"])
def test_a_recorded_dataset_comes_in_and_goes_out_as_it_was(name: str, way: str, tmp_path: Path) -> None:
    come_in(DATA / name, tmp_path / way)
    again = go_out(tmp_path / way, tmp_path / name)
    before, after = tree(DATA / name), tree(again)
    assert before.keys() == after.keys()
    for key, value in before.items():
        if isinstance(value, list):
            assert value == after[key], key
        else:
            assert np.asarray(value).dtype == np.asarray(after[key]).dtype, key
            np.testing.assert_array_equal(value, after[key], key)
    old, new = (json.loads((path / "data" / "metadata.json").read_text()) for path in (DATA / name, again))
    assert {key: old.get(key) for key in STATED} == {key: new.get(key) for key in STATED}
    assert new["dataset_id"] == name
    assert new["jpeg_encoding"] is False


def test_images_go_out_raw(tmp_path: Path) -> None:
    come_in(DATA / "mixed-v0", tmp_path / "replay.h5")
    go_out(tmp_path / "replay.h5", tmp_path / "mixed-v0")
    with h5py.File(tmp_path / "mixed-v0" / "data" / "main_data.hdf5") as file:
        image = file["episode_1/observations/image"]
        assert (image.dtype, image.shape) == (np.uint8, (5, 32, 32))


def test_rows_are_those_of_the_time_table(tmp_path: Path) -> None:
    replay = come_in(DATA / "cartpole-v0", tmp_path / "replay.h5")
    episode = replay.load(replay.episodes()[0])
    with h5py.File(DATA / "cartpole-v0" / "data" / "main_data.hdf5") as file:
        group = file["episode_0"]
        steps = len(group["rewards"])
        np.testing.assert_array_equal(episode.observation["observation"], group["observations"][:])
        np.testing.assert_array_equal(episode.action, [*group["actions"][:], 0])
        np.testing.assert_array_equal(episode.reward, [0, *group["rewards"][:]])
        assert episode.is_first.tolist() == [True] + steps * [False]
        assert episode.terminated.tolist() == steps * [False] + [True]
    assert episode.seed == 7


def test_a_seed_that_is_none_in_words_is_not_known(tmp_path: Path) -> None:
    dataset, data = copied("cartpole-v0", tmp_path)
    with h5py.File(data, "r+") as file:
        file["episode_0"].attrs["seed"] = "None"
    assert come_in(dataset, tmp_path / "replay.h5").episodes()[0].seed == -1


def test_the_task_is_the_one_that_collect_would_record(tmp_path: Path) -> None:
    spec = come_in(DATA / "cartpole-v0", tmp_path / "replay.h5").spec
    assert (spec.name, spec.options) == ("gym:CartPole-v1", {"max_episode_steps": 500, "kwargs": {}})
    assert come_in(DATA / "mixed-v0", tmp_path / "mixed.h5").spec.name == "minari:mixed-v0"


def test_doubles_stay_doubles_unless_the_reward_shall_not(tmp_path: Path) -> None:
    for name, reward in (("as_is", None), ("single", "f4"), ("double", "f8")):
        come_in(DATA / "mixed-v0", tmp_path / f"{name}.h5", reward_dtype=reward)
    with h5py.File(tmp_path / "as_is.h5") as file, h5py.File(tmp_path / "single.h5") as single, h5py.File(tmp_path / "double.h5") as double:
        assert file["/steps/observation/pos"].dtype == np.float64
        assert [one["/steps/reward"].dtype for one in (file, single, double)] == [np.float64, np.float32, np.float64]
        np.testing.assert_array_equal(single["/steps/reward"][:], file["/steps/reward"][:].astype(np.float32))


def test_rewards_of_one_dtype_lose_no_digit_of_another_unless_they_shall(tmp_path: Path) -> None:
    dataset, data = copied("cartpole-v0", tmp_path)
    with h5py.File(data, "r+") as file:
        single = file["episode_0/rewards"][:].astype(np.float32)
        double = file["episode_1/rewards"][:].astype(np.float64) + 1e-9
        del file["episode_0/rewards"], file["episode_1/rewards"]
        file["episode_0/rewards"], file["episode_1/rewards"] = single, double
    with pytest.raises(InputError, match=r"episode_1: reward \(float64\) holds values that <f4 cannot keep; name --reward-dtype f8"):
        come_in(dataset, tmp_path / "as_is.h5")
    come_in(dataset, tmp_path / "single.h5", reward_dtype="f4")
    come_in(dataset, tmp_path / "double.h5", reward_dtype="f8")
    with h5py.File(tmp_path / "double.h5") as file:
        assert file["/steps/reward"][-1] == double[-1] != 1


def test_what_people_say_of_a_dataset_is_kept_or_replaced(tmp_path: Path) -> None:
    dataset, _ = copied("cartpole-v0", tmp_path)
    metadata = json.loads((dataset / "data" / "metadata.json").read_text())
    (dataset / "data" / "metadata.json").write_text(json.dumps({**metadata, "author": ["A"], "description": "first"}))
    come_in(dataset, tmp_path / "replay.h5")
    out = go_out(tmp_path / "replay.h5", tmp_path / "told-v1", description="second", author_email=("a@example.org",))
    told = json.loads((out / "data" / "metadata.json").read_text())
    assert (told["author"], told["author_email"], told["description"]) == (["A"], ["a@example.org"], "second")
    assert told["dataset_id"] == "told-v1"


def test_an_id_is_the_path_below_the_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    come_in(DATA / "cartpole-v0", tmp_path / "replay.h5")
    out = go_out(tmp_path / "replay.h5", tmp_path / "cart" / "random-v3")
    assert json.loads((out / "data" / "metadata.json").read_text())["dataset_id"] == "cart/random-v3"
    with pytest.raises(UsageError, match=r"NAME-vN, not 'cart/random'; end -o with such a name, e.g. random-v0"):
        ToMinari().check(tmp_path / "cart" / "random")


def test_infos_of_no_fixed_size_are_left_out_and_told(tmp_path: Path) -> None:
    dataset, data = copied("mixed-v0", tmp_path)
    with h5py.File(data, "r+") as file:
        del file["episode_1/infos/n"]
        file["episode_0/infos/note"] = ["a", "b", "c", "d", "e"]
        file["episode_1/infos/where"][2] = np.nan
    notes: list[str] = []
    replay = come_in(dataset, tmp_path / "replay.h5", notes=notes)
    assert replay.extra_names == ()
    assert "infos n, note, where are not finite numbers" in notes[0]


def halved(file: h5py.File) -> None:
    half = file["episode_0/actions"][:] + 0.5
    del file["episode_0/actions"]
    file["episode_0/actions"] = half


BROKEN = {
    "ends at step 2 and goes on": lambda file: file["episode_0/terminations"].__setitem__(1, True),
    "episode_1/rewards is missing or a link": lambda file: file.__delitem__("episode_1/rewards"),
    "episode_0: seed is 'abc', wanted one whole number": lambda file: file["episode_0"].attrs.__setitem__("seed", "abc"),
    r"main_data\.hdf5: .*episode_1": lambda file: (file.__delitem__("episode_1"), file.__setitem__("episode_1", 3)),
    "action is of shape": lambda file: file["episode_0/actions"].resize(3, 0),
    r"row 1 is \[nan nan nan nan\], wanted finite": lambda file: file["episode_0/observations"].__setitem__(1, np.nan),
    r"/steps/action row 0 is 9, wanted one of Discrete\(2\)": lambda file: file["episode_0/actions"].__setitem__(0, 9),
    "holds values that <i8 cannot keep": halved,
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_dataset_is_refused_in_one_line(message: str, tmp_path: Path) -> None:
    dataset, data = copied("cartpole-v0", tmp_path)
    with h5py.File(data, "r+") as file:
        BROKEN[message](file)
    with pytest.raises(InputError, match=message) as error:
        come_in(dataset, tmp_path / "replay.h5")
    assert "\n" not in str(error.value)


def test_images_that_are_no_jpeg_are_refused(tmp_path: Path) -> None:
    dataset, data = copied("mixed-v0", tmp_path)
    with h5py.File(data, "r+") as file:
        file["episode_0/observations/image"][1] = np.zeros(40, np.uint8)
    with pytest.raises(InputError, match="episode_0: observations/image holds no JPEG images"):
        come_in(dataset, tmp_path / "replay.h5")


def test_room_is_asked_for_before_hdf5_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    come_in(DATA / "mixed-v0", tmp_path / "replay.h5")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))  # type: ignore[attr-defined]
    with pytest.raises(OutputError, match="0 MB are free, up to 0 MB are needed"):
        go_out(tmp_path / "replay.h5", tmp_path / "mixed-v0")


def test_data_elsewhere_is_not_read(tmp_path: Path) -> None:
    dataset, data = copied("cartpole-v0", tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(41 * 8))
    with h5py.File(data, "r+") as file:
        del file["episode_0/rewards"], file["episode_1/rewards"]
        file.create_dataset("episode_0/rewards", (41,), "<f8", external=[(str(secret), 0, 41 * 8)])
        file["episode_1/rewards"] = h5py.ExternalLink(str(secret), "/")
    with pytest.raises(InputError, match="episode_0/rewards is no dataset of its own"):
        come_in(dataset, tmp_path / "replay.h5")


@pytest.mark.parametrize("change", [{"data_format": "arrow"}, {"observation_space": "{}"}, {"total_episodes": 3}, None])
def test_metadata_that_does_not_fit_is_refused(change: dict[str, object] | None, tmp_path: Path) -> None:
    dataset, _ = copied("cartpole-v0", tmp_path)
    path = dataset / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change) if change is not None else "{")
    with pytest.raises(InputError):
        come_in(dataset, tmp_path / "replay.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total_episodes": "x"}, "total_episodes is 'x', wanted a whole number"),
        ({"total_episodes": None}, "total_episodes is 'None', wanted a whole number"),
        ({"env_spec": "{"}, "env_spec is no JSON object: '{'"),
        ({"env_spec": "[1]"}, r"env_spec is no JSON object: '\[1\]'"),
        ({"env_spec": {"a": 1}}, "env_spec is no JSON object"),
    ],
)
def test_metadata_of_other_types_are_refused_in_one_line(change: dict[str, object], message: str, tmp_path: Path) -> None:
    dataset, _ = copied("cartpole-v0", tmp_path)
    path = dataset / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=f"metadata.json: {message}"):
        come_in(dataset, tmp_path / "replay.h5")


@pytest.mark.parametrize("name", ["metadata.json", "main_data.hdf5"])
def test_a_pipe_is_refused_and_never_opened(name: str, tmp_path: Path) -> None:
    dataset, _ = copied("cartpole-v0", tmp_path)
    (dataset / "data" / name).unlink()
    os.mkfifo(dataset / "data" / name)
    with pytest.raises(InputError, match=f"{name}: not a regular file"):
        come_in(dataset, tmp_path / "replay.h5")


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_damaged_bytes_are_refused_in_one_line(tmp_path: Path) -> None:
    dataset, data = copied("cartpole-v0", tmp_path)
    whole, draws = data.read_bytes(), random.Random(0)
    refused: list[str] = []
    for number in range(40):
        damaged = bytearray(whole)
        for _ in range(20):
            damaged[draws.randrange(len(damaged))] = draws.randrange(256)
        data.write_bytes(damaged)
        try:
            come_in(dataset, tmp_path / f"{number}.h5")
        except InputError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in message for message in refused)


def test_a_dataset_of_another_task_than_the_one_named_is_refused(tmp_path: Path) -> None:
    spec = come_in(DATA / "cartpole-v0", tmp_path / "cart.h5").spec
    with pytest.raises(InputError, match="leave --env out"):
        come_in(DATA / "mixed-v0", tmp_path / "mixed.h5", spec=spec)
