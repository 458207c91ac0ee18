"""dreamerv3's chunks and the older Dreamers' episodes become the rows that were lived through."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.replay.convert.dreamerv3 import DreamerV3Npz
from dreamctl.replay.convert.kinds import ToFile
from dreamctl.replay.reader import Replay, open_replay

NOTHING = "0" * 22


def lived(lengths: Sequence[int], worker: int = 0) -> dict[str, np.ndarray]:
    """Episodes of these many rows as a driver of dreamerv3 hands them to its replay: the action taken at each row, zero on the last."""
    steps = np.concatenate([np.arange(length) for length in lengths])
    is_last = np.concatenate([np.arange(length) == length - 1 for length in lengths])
    number = np.repeat(np.arange(len(lengths)), lengths)
    return {
        "image": np.stack([np.full((8, 8, 3), 10 * worker + n + t, np.uint8) for n, t in zip(number, steps, strict=True)]),
        "vector": np.stack([np.array([worker, n, t], np.float32) for n, t in zip(number, steps, strict=True)]),
        "action": np.where(is_last, 0, 1 + steps % 3).astype(np.int32),
        "reward": (steps > 0).astype(np.float32),
        "is_first": steps == 0,
        "is_last": is_last,
        "is_terminal": is_last & (number % 2 == 0),
        "stepid": np.zeros((len(steps), 20), np.uint8),
        "consec": np.zeros(len(steps), np.int32),
        "dyn/deter": np.zeros((len(steps), 4), np.float16),
        "logprob": np.zeros(len(steps), np.float32),
    }


def chunked(folder: Path, rows: Mapping[str, np.ndarray], size: int, worker: int = 0, *, garbage: int = 0) -> Path:
    """Rows as chunks of so many, each with the name of the one behind it; the first dreamerv3 saved its whole buffer, garbage included."""
    folder.mkdir(exist_ok=True)
    total = len(rows["reward"])
    names = [f"w{worker}c{n:019d}" for n in range(-(-total // size))]
    for number, name in enumerate(names):
        part = {key: value[number * size : (number + 1) * size] for key, value in rows.items()}
        successor = names[number + 1] if number + 1 < len(names) else NOTHING
        # Not in the order of the names: what counts is who follows whom.
        time = f"20240101T0000{59 - number:02d}F{worker:06d}"
        length = len(part["reward"])
        part = {key: np.concatenate([value, np.full((garbage, *value.shape[1:]), 77, value.dtype)]) for key, value in part.items()}
        np.savez_compressed(folder / f"{time}-{name}-{successor}-{length}.npz", **part)  # type: ignore[arg-type]
    return folder


def led(folder: Path, rows: Mapping[str, np.ndarray], *, drop: Sequence[str] = (), **others: np.ndarray) -> Path:
    """Whole episodes as dreamerv3-torch saves them: a row holds the action that led to it."""
    folder.mkdir(exist_ok=True)
    starts = [*np.flatnonzero(rows["is_first"]).tolist(), len(rows["reward"])]
    for number, (first, last) in enumerate(pairwise(starts)):
        part = {key: value[first:last] for key, value in rows.items() if key not in (*drop, "stepid", "consec", "dyn/deter")}
        part["action"] = np.concatenate([np.zeros_like(part["action"][:1]), part["action"][:-1]])
        part |= {key: value[first:last] for key, value in others.items()}
        np.savez_compressed(folder / f"20240101T00000{number}-{number:032x}-{last - first - 1}.npz", **part)  # type: ignore[arg-type]
    return folder


def come_in(folder: Path, *, spec: TaskSpec | None = None, notes: list[str] | None = None, **options: object) -> Replay:
    target = folder.with_suffix(".h5")
    with DreamerV3Npz(**options).read(folder, spec, (notes if notes is not None else []).append) as recording:  # type: ignore[arg-type]
        ToFile().write(recording, target, target)
    return open_replay([target])


def expect(replay: Replay, rows: Mapping[str, np.ndarray]) -> None:
    """The episodes of the replay are these rows, in this order."""
    episodes = [replay.load(info) for info in replay.episodes()]
    for name in ("image", "vector"):
        np.testing.assert_array_equal(np.concatenate([episode.observation[name] for episode in episodes]), rows[name])
    for name in ("action", "reward", "is_first"):
        np.testing.assert_array_equal(np.concatenate([getattr(episode, name) for episode in episodes]), rows[name], name)
    np.testing.assert_array_equal(np.concatenate([episode.terminated for episode in episodes]), rows["is_terminal"])
    np.testing.assert_array_equal(np.concatenate([episode.truncated for episode in episodes]), rows["is_last"] & ~rows["is_terminal"])


@pytest.mark.parametrize("garbage", [0, 3])
@pytest.mark.parametrize("size", [1, 4, 7, 1024])
def test_episodes_come_out_of_chunks_however_they_were_cut(size: int, garbage: int, tmp_path: Path) -> None:
    rows = lived([5, 3, 9, 2])
    notes: list[str] = []
    replay = come_in(chunked(tmp_path / "replay", rows, size, garbage=garbage), notes=notes)
    expect(replay, rows)
    assert replay.spec.action == Discrete(4)
    assert sorted(replay.spec.observation) == ["image", "vector"]
    assert [note.partition(": ")[2].partition(" ")[0] for note in notes] == ["keys", "taken"]
    assert "keys dyn/deter, logprob are left out" in notes[0]


def test_workers_are_told_apart(tmp_path: Path) -> None:
    one, two = lived([5, 3], 0), lived([4, 4, 2], 1)
    chunked(tmp_path / "replay", two, 3, 1)
    replay = come_in(chunked(tmp_path / "replay", one, 3, 0))
    found = sorted(tuple(replay.load(info).observation["vector"][0]) for info in replay.episodes())
    assert found == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0)]
    assert replay.rows == 18


def test_an_episode_that_goes_on_is_not_complete(tmp_path: Path) -> None:
    rows = {key: value[:-1] for key, value in lived([5, 4]).items()}
    replay = come_in(chunked(tmp_path / "replay", rows, 4))
    assert [(info.length, info.complete) for info in replay.episodes()] == [(5, True), (3, False)]
    assert replay.load(replay.episodes()[1]).action.tolist() == [1, 2, 0]


def test_rows_whose_episode_began_in_a_chunk_that_is_gone_are_left_out_and_told(tmp_path: Path) -> None:
    folder = chunked(tmp_path / "replay", lived([5, 4, 3]), 4)
    next(path for path in folder.iterdir() if path.name.split("-")[1].endswith("c" + "0" * 19)).unlink()
    notes: list[str] = []
    replay = come_in(folder, notes=notes)
    assert [info.length for info in replay.episodes()] == [4, 3]
    assert any("1 rows before the first start of an episode" in note for note in notes)


def test_actions_that_led_to_a_row_are_moved_up(tmp_path: Path) -> None:
    rows = lived([5, 3, 4])
    expect(come_in(led(tmp_path / "replay", rows)), rows)


def test_whether_actions_are_moved_can_be_said(tmp_path: Path) -> None:
    rows = lived([5])
    replay = come_in(led(tmp_path / "replay", rows), shift_actions=False)
    assert replay.load(replay.episodes()[0]).action.tolist() == [0, 1, 2, 3, 0]
    replay = come_in(chunked(tmp_path / "chunks", rows, 9), shift_actions=True)
    assert replay.load(replay.episodes()[0]).action.tolist() == [2, 3, 1, 0, 0]


def test_the_oldest_files_tell_the_end_by_their_discount(tmp_path: Path) -> None:
    rows = lived([5, 3, 4])
    discount = np.where(rows["is_terminal"], 0.0, 1.0).astype(np.float32)
    folder = led(tmp_path / "replay", rows, drop=("is_first", "is_last", "is_terminal", "logprob"), discount=discount)
    expect(come_in(folder), rows)


@pytest.mark.parametrize("spec_action", [None, Discrete(4)])
def test_one_hot_actions_become_choices(spec_action: Discrete | None, tmp_path: Path) -> None:
    rows = lived([5, 3])
    hot = np.eye(4, dtype=np.float32)[rows["action"]] * ~rows["is_last"][:, None]
    spec = None
    if spec_action is not None:
        spec = TaskSpec({"image": Box(0, 255, (8, 8, 3), np.uint8), "vector": Box(-9, 9, (3,), np.float32)}, spec_action, "gym", "Known-v0")
    replay = come_in(led(tmp_path / "replay", {**rows, "action": hot}), spec=spec)
    assert replay.spec.action == Discrete(4)
    expect(replay, rows)


def test_continuous_actions_stay_numbers(tmp_path: Path) -> None:
    rows = lived([5, 3])
    noise = np.random.default_rng(0).uniform(-1, 1, (8, 2)).astype(np.float32)
    rows["action"] = noise * ~rows["is_last"][:, None]
    replay = come_in(chunked(tmp_path / "replay", rows, 3))
    assert replay.spec.action == Box(-1, 1, (2,), np.float32)
    expect(replay, rows)


def test_a_circle_of_chunks_is_refused(tmp_path: Path) -> None:
    folder = chunked(tmp_path / "replay", lived([5, 3]), 4)
    (last,) = [path for path in folder.iterdir() if NOTHING in path.name]
    first = next(path for path in folder.iterdir() if path != last).name.split("-")[1]
    last.rename(folder / last.name.replace(NOTHING, first))
    with pytest.raises(InputError, match="in a circle"):
        come_in(folder)


def test_observations_of_another_task_are_refused(tmp_path: Path) -> None:
    spec = TaskSpec({"image": Box(0, 255, (8, 8, 3), np.uint8)}, Discrete(4), "gym", "Known-v0")
    with pytest.raises(InputError, match="holds observations image, vector, gym:Known-v0 has image"):
        come_in(chunked(tmp_path / "replay", lived([5]), 4), spec=spec)


def test_a_chunk_shorter_than_its_name_says_is_refused(tmp_path: Path) -> None:
    folder = chunked(tmp_path / "replay", lived([5]), 9)
    (chunk,) = folder.iterdir()
    chunk.rename(folder / chunk.name.replace("-5.npz", "-6.npz"))
    with pytest.raises(InputError, match="holds 5 rows, the file's name says 6"):
        come_in(folder)


def test_a_file_of_another_name_among_chunks_is_refused(tmp_path: Path) -> None:
    folder = chunked(tmp_path / "replay", lived([5, 3]), 4)
    chunk = min(folder.iterdir())
    (folder / f"{chunk.stem} (copy).npz").write_bytes(chunk.read_bytes())
    with pytest.raises(InputError, match=r"\(copy\)\.npz: is not called TIME-ID-SUCCESSOR-LENGTH\.npz as 2 others here; move it"):
        come_in(folder)


@pytest.mark.parametrize("name", ["is_first", "is_last", "is_terminal"])
def test_a_whole_episode_with_another_inside_is_refused(name: str, tmp_path: Path) -> None:
    rows = lived([5])
    rows[name] = rows[name] | (np.arange(5) == 2)
    with pytest.raises(InputError, match=f"{name} is set in row 2 of 5, wanted one whole episode"):
        come_in(led(tmp_path / "replay", {**rows, "is_first": np.arange(5) == 0}, **{name: rows[name]}))


def test_a_whole_episode_whose_last_row_is_not_the_last_goes_on(tmp_path: Path) -> None:
    rows = lived([5])
    going_on = np.zeros(5, bool)
    (info,) = come_in(led(tmp_path / "replay", {**rows, "is_last": going_on, "is_terminal": going_on})).episodes()
    assert (info.terminated, info.truncated, info.complete) == (False, False, False)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_file_without_steps_is_refused(rows: int, tmp_path: Path) -> None:
    folder = led(tmp_path / "replay", lived([5]))
    np.savez(folder / "20240101T000009-none-0.npz", **{key: value[:rows] for key, value in np.load(next(folder.iterdir())).items()})
    with pytest.raises(InputError, match=r"none-0\.npz: holds no steps, wanted two rows or more"):
        come_in(folder)


def test_keys_of_strings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="note is of dtype <U1, wanted numbers of at most 8 bytes; leave it out"):
        come_in(led(tmp_path / "replay", {**lived([5]), "note": np.array(list("abcde"))}))
