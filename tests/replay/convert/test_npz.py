"""Plain .npz episodes go out and come in exactly; what their authors left out is inferred and told."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.replay.convert.kinds import OurReplay, ToFile
from dreamctl.replay.convert.minari_export import ToMinari
from dreamctl.replay.convert.npz import PlainNpz, ToNpz
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.shards.storage import stored_columns
from dreamctl.replay.writer import write_episodes
from tests.replay.editing.test_edit import contents
from tests.replay.rows import BOX_SPEC, SPEC, dream, episode_rows, stream_rows, write


def come_in(folder: Path, target: Path, *, spec: TaskSpec | None = None, notes: list[str] | None = None, **options: object) -> Replay:
    note = (notes if notes is not None else []).append
    with PlainNpz(**options).read(folder, spec, note) as recording:  # type: ignore[arg-type]
        ToFile().write(recording, target, target)
    return open_replay([target])


def go_out(replay: Path, target: Path) -> Path:
    with OurReplay().read(replay, None, print) as recording:
        ToNpz().write(recording, target, target)
    return target


def arrays(steps: int = 4, **others: Array | None) -> dict[str, Array]:
    """One episode as someone else would write it."""
    made: dict[str, Array | None] = {
        "observation": np.arange(3 * (steps + 1), dtype=np.float32).reshape(-1, 3),
        "action": np.arange(steps) % 3,
        "reward": np.arange(steps) / 4,
        "terminated": np.arange(steps) == steps - 1,
        "truncated": np.zeros(steps, bool),
        **others,
    }
    return {name: value for name, value in made.items() if value is not None}


def saved(folder: Path, *episodes: dict[str, Array]) -> Path:
    folder.mkdir()
    for number, episode in enumerate(episodes):
        np.savez(folder / f"{number}.npz", **episode)  # type: ignore[arg-type]
    return folder


def test_a_replay_goes_out_and_comes_in_exactly(tmp_path: Path) -> None:
    rows = [*stream_rows([5, 2, 9, 4]), *episode_rows(4, 6, ended=False, extra=None)]
    replay = write(tmp_path / "replay", rows, shard_rows=4)
    folder = go_out(replay, tmp_path / "npz")
    assert sorted(path.name for path in folder.iterdir()) == [f"episode-{number:06d}.npz" for number in range(5)]
    again = come_in(folder, tmp_path / "again.h5")
    assert contents(tmp_path / "again.h5") == contents(replay)
    assert again.spec == SPEC
    twice = go_out(tmp_path / "again.h5", tmp_path / "twice")
    for one, two in zip(sorted(folder.iterdir()), sorted(twice.iterdir()), strict=True):
        with np.load(one) as left, np.load(two) as right:
            assert left.files == right.files
            assert all(np.array_equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left.files)


def test_extra_columns_and_nested_keys_go_along(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    value = noise.normal(size=5).astype(np.float32)
    rows = episode_rows(0, 5, extra={"value": value})
    rows = [
        type(row)(
            **{
                **vars(row),
                "observation": {"arm/angle": noise.uniform(-1, 1, 2), "goal": np.float32(0.5)},
                "action": np.zeros(2, np.float32),
            }
        )
        for row in rows
    ]
    folder = go_out(write(tmp_path / "replay.h5", rows, spec=BOX_SPEC), tmp_path / "npz")
    with np.load(folder / "episode-000000.npz") as episode:
        assert {"observation/arm/angle", "observation/goal", "action", "extra/value"} <= set(episode.files)
    again = come_in(folder, tmp_path / "again.h5")
    assert contents_of(again, "observation/arm/angle") == contents_of(open_replay([tmp_path / "replay.h5"]), "observation/arm/angle")
    np.testing.assert_array_equal(again.load(again.episodes()[0], extra=["value"]).extra["value"], value)


def contents_of(replay: Replay, name: str) -> list[list[object]]:
    return [replay.load(info).observation[name.removeprefix("observation/")].tolist() for info in replay.episodes()]


def test_steps_become_rows(tmp_path: Path) -> None:
    replay = come_in(saved(tmp_path / "npz", arrays()), tmp_path / "replay.h5")
    episode = replay.load(replay.episodes()[0])
    assert episode.action.tolist() == [0, 1, 2, 0, 0]
    assert episode.reward.tolist() == [0, 0, 0.25, 0.5, 0.75]
    assert episode.terminated.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(("ends", "complete"), [((True, False), True), ((False, True), True), ((False, False), False)])
def test_one_value_tells_how_an_episode_ended(ends: tuple[bool, bool], complete: bool, tmp_path: Path) -> None:
    folder = saved(tmp_path / "npz", arrays(terminated=np.array(ends[0]), truncated=np.array(ends[1])))
    (info,) = come_in(folder, tmp_path / "replay.h5").episodes()
    assert ((info.terminated, info.truncated), info.complete) == (ends, complete)


@pytest.mark.parametrize(
    ("observation", "space"),
    [
        (np.zeros((5, 16, 12, 3), np.uint8), Box(0, 255, (16, 12, 3), np.uint8)),
        (np.zeros((5, 7), np.float64), Box(-np.inf, np.inf, (7,), np.float32)),
        (np.zeros((5, 7), np.float32), Box(-np.inf, np.inf, (7,), np.float32)),
        (np.zeros((5, 4), bool), MultiBinary((4,))),
        (np.zeros(5, bool), Discrete(2)),
        (np.zeros((5, 2), np.int16), Box(-(2**15), 2**15 - 1, (2,), np.int16)),
    ],
)
def test_observations_are_taken_for_what_they_look_like(observation: np.ndarray, space: object, tmp_path: Path) -> None:
    notes: list[str] = []
    replay = come_in(saved(tmp_path / "npz", arrays(observation=observation)), tmp_path / "replay.h5", notes=notes)
    assert replay.spec.observation == {"observation": space}
    assert replay.spec.name == "imported:npz"
    assert "--env ID takes the spaces of an environment" in notes[0]


@pytest.mark.parametrize(
    ("action", "space"),
    [
        (np.array([0, 4, 1, 2]), Discrete(5)),
        (np.array([-1, 1, 1, 0]), Discrete(3, start=-1)),
        (np.array([[0, 1], [2, 0], [0, 0], [0, 3]]), MultiDiscrete([3, 4])),
        (np.array([[0.5], [-1], [1], [0]], np.float32), Box(-1, 1, (1,), np.float32)),
        (np.array([[0.5], [-1], [1.5], [0]], np.float32), Box(-np.inf, np.inf, (1,), np.float32)),
    ],
)
def test_actions_are_taken_for_what_was_seen(action: np.ndarray, space: object, tmp_path: Path) -> None:
    assert come_in(saved(tmp_path / "npz", arrays(action=action)), tmp_path / "replay.h5").spec.action == space


def test_a_task_that_is_named_gives_its_spaces(tmp_path: Path) -> None:
    replay = come_in(saved(tmp_path / "npz", arrays()), tmp_path / "replay.h5", spec=SPEC)
    assert replay.spec == SPEC


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([arrays(observation=None)], "has no observation"),
        ([arrays(reward=None)], "has no key 'reward', only action, observation, terminated, truncated"),
        ([arrays(), arrays(observation=np.zeros((5, 4), np.float32))], r"observation is float32 \(4,\), float32 \(3,\) in"),
        ([arrays(), arrays(more=np.zeros(5))], "'more' is in only one of it and"),
        ([arrays(terminated=np.array([True, False, False, False]))], "terminated is set before the last of 5 rows"),
        ([arrays(reward=np.zeros(9))], r"reward is of shape \(9,\), wanted \(5,\)"),
        ([arrays(reward=np.array([0, np.inf, 0, 0]))], "row 2 is inf, wanted finite"),
        ([arrays(reward=np.array([0, 1 + 5j, 0, 0]))], "reward is of dtype complex128, wanted numbers"),
        ([arrays(reward=np.array([0, 2**60 + 1, 0, 0]))], r"reward \(int64\) holds values that <f8 cannot keep"),
        ([arrays(seed=np.array([11, 12])), arrays(seed=np.array([21, 22]))], r"0\.npz: seed is int64 \(2,\), wanted one whole number"),
        ([arrays(seed=np.array("x"))], r"0\.npz: seed is <U1 \(\), wanted one whole number"),
        ([arrays(**{"extra/note": np.array(list("abcde"))})], "extra/note is of dtype <U1, wanted numbers"),
        ([arrays(**{"extra/when": np.zeros(5, "M8[s]")})], r"extra/when is of dtype datetime64\[s\], wanted numbers"),
        ([arrays(reward=np.array(list("abcd")))], "reward is of dtype <U1, wanted numbers"),
        ([arrays(action=np.array(list("abcd")))], "action is of dtype <U1, wanted numbers"),
        ([arrays(action=np.zeros(4, [("a", "<i8")]))], "action is of dtype .*, wanted numbers"),
        ([arrays(action=np.zeros((4, 0), np.float32))], r"action has rows of shape \(0,\), wanted numbers"),
        ([arrays(action=np.array([0, 2**63 + 2, 0, 0], np.uint64))], "action goes from 0 to 9223372036854775810, more choices than"),
        ([arrays(), arrays(0)], r"1\.npz: holds no steps, wanted two rows or more"),
        ([arrays(0, observation=np.zeros((0, 3), np.float32))], r"0\.npz: holds no steps, wanted two rows or more"),
        ([arrays(observation=np.array([object()] * 5))], "not a readable .npz file .*Python objects"),
    ],
)
def test_what_is_no_episode_is_refused(episodes: list[dict[str, np.ndarray]], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        come_in(saved(tmp_path / "npz", *episodes), tmp_path / "replay.h5")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "npz", arrays())
    (folder / "0.npz").write_bytes((folder / "0.npz").read_bytes()[:300])
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        come_in(folder, tmp_path / "replay.h5")
    with pytest.raises(InputError, match=r"holds no \.npz files"):
        come_in(tmp_path, tmp_path / "replay.h5")


def test_rewards_can_be_stored_otherwise(tmp_path: Path) -> None:
    come_in(saved(tmp_path / "npz", arrays()), tmp_path / "double.h5")
    with OurReplay(reward_dtype="f4").read(tmp_path / "double.h5", None, print) as recording:
        ToFile().write(recording, tmp_path / "single.h5", tmp_path / "single.h5")
    dtypes = [
        next(column for column in stored_columns(tmp_path / name) if column.role == "reward").dtype for name in ("double.h5", "single.h5")
    ]
    assert dtypes == ["<f8", "<f4"]


@pytest.mark.parametrize("target", [ToNpz(), ToMinari()])
def test_dreams_have_no_place_in_other_formats(target: ToNpz | ToMinari, tmp_path: Path) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream()], kind="imagined", parent={})
    with OurReplay().read(tmp_path / "dreams.h5", None, print) as recording, pytest.raises(InputError, match="imagined rollouts"):
        target.write(recording, tmp_path / "out-v0", tmp_path / "out-v0")
    assert not (tmp_path / "out-v0").exists()


@pytest.mark.parametrize("other", ["observation", "action"])
def test_other_episodes_of_equal_lengths_and_returns_get_a_name_of_their_own(other: str, tmp_path: Path) -> None:
    values = np.roll(arrays()[other], 1, axis=0)
    folders = [saved(tmp_path / "a", arrays()), saved(tmp_path / "b", arrays(**{other: values})), saved(tmp_path / "c", arrays())]
    for folder in folders:
        come_in(folder, tmp_path / f"{folder.name}-replay", spec=SPEC)
    names = [next((tmp_path / f"{folder.name}-replay").iterdir()).name for folder in folders]
    assert names[0] == names[2] != names[1]


def test_rewards_go_out_in_the_dtype_that_was_asked_for(tmp_path: Path) -> None:
    come_in(saved(tmp_path / "npz", arrays()), tmp_path / "double.h5")
    with OurReplay(reward_dtype="f4").read(tmp_path / "double.h5", None, print) as recording:
        ToNpz().write(recording, tmp_path / "out", tmp_path / "out")
    with np.load(tmp_path / "out" / "episode-000000.npz") as episode:
        assert episode["reward"].dtype == np.float32


@pytest.mark.parametrize("size", [0, 10**6])
def test_wide_doubles_are_kept_and_read_as_single_numbers(tmp_path: Path, size: int) -> None:
    wide = np.random.default_rng(0).standard_normal((41, 400))
    replay = come_in(saved(tmp_path / "npz", arrays(40, observation=wide)), tmp_path / "r.h5")
    replay.cache(size)
    column = replay.streams[0].big["observation/observation"]
    found = np.empty((41, 400), np.float32)
    column.read(0, found)
    np.testing.assert_array_equal(found, wide.astype(np.float32))


def test_doubles_beyond_single_numbers_are_refused_when_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reward row 3 is 1e\+39, wanted finite numbers"):
        come_in(saved(tmp_path / "npz", arrays(4, reward=np.array([0.0, 1, 1e39, 1]))), tmp_path / "r.h5")
