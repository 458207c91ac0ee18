"""Every kind of space: from the environment into a file, through windows into tensors and back; and a tiny training in each."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import StoppedEarly, UsageError
from dreamctl.core.experience import Array, Row
from dreamctl.core.session import Session
from dreamctl.core.spaces import flat_values
from dreamctl.envs.driver import Driver, make_envs, task_spec
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages.collect import collect
from dreamctl.stages.encoding import decoded
from dreamctl.stages.evaluate import evaluate
from dreamctl.stages.imagine import imagine
from dreamctl.stages.policy import RandomPolicy, load
from dreamctl.stages.render import render
from dreamctl.stages.run import run
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from dreamctl.stages.training import to_batch
from tests.spaces import ACTIONS, OBSERVATIONS, AnySuite, sampled
from tests.stages.tiny import OVERWRITE, RESUME, TINY, finite, stopping, tiny

STEPS, LIMIT = 25, 9
# Each sort of observation once and each sort of action at least once: what is seen and what is done share no code but the codec.
TASKS = [f"{seen}/{done}" for seen, done in zip(OBSERVATIONS, cycle(ACTIONS), strict=False)]
SHOWN = ("box-2d", "discrete-start", "nested", "image-grey", "images-and-more")
MERGED = ("images-and-more/discrete", "nested/nested")


class Happened(NamedTuple):
    """What the environment gave, and the action that led there, as the environment took it."""

    observation: object
    action: object | None


def collected(path: Path, task: str) -> list[list[Happened]]:
    """Write a replay of two lanes, sealed often; returns what happened in each lane."""
    envs = make_envs(AnySuite(LIMIT), task, 2, vectorize="sync")
    spec = task_spec(AnySuite(LIMIT), task, envs)
    driver = Driver(envs, spec, RandomPolicy(spec, 0))
    with ReplayWriter(path, spec, lanes=2, seed=0, shard_rows=7) as writer:
        for _ in range(STEPS):
            for row in driver.step():
                writer.add(row)
    lanes = []
    for env in envs.envs:
        taken = iter(env.unwrapped.received)
        lanes.append([Happened(value, None if t % (LIMIT + 1) == 0 else next(taken)) for t, value in enumerate(env.unwrapped.given)])
    return lanes


def same(one: Mapping[str, Array], two: Mapping[str, Array]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].shape == two[name].shape
        np.testing.assert_allclose(np.asarray(one[name], np.float64), np.asarray(two[name], np.float64), rtol=1e-6, atol=1e-6)


def as_dreamt(tensor: torch.Tensor) -> torch.Tensor:
    """Pictures as a decoder emits them; numbers as they are."""
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor


@pytest.mark.parametrize(("task", "file"), [*((task, "replay") for task in TASKS), *((task, "replay.h5") for task in MERGED)])
def test_a_value_survives_file_windows_and_tensors(tmp_path: Path, task: str, file: str) -> None:
    lanes = collected(tmp_path / file, task)
    streams = lanes if file == "replay" else [lanes[0] + lanes[1]]
    replay = open_replay([tmp_path / file])
    assert [len(stream) for stream in replay.streams] == [len(stream) for stream in streams]
    windows = WindowSampler(replay, ReplayConfig(batch_size=6, batch_length=8), 0).sample(0)
    batch = to_batch(windows, replay.spec, torch.device("cpu"))
    values = decoded(replay.spec, {name: as_dreamt(tensor) for name, tensor in batch.observation.items()})
    codec = ActionCodec(replay.spec.action)
    actions = codec.decode(batch.prev_action.numpy())
    for i, (stream, row) in enumerate(zip(windows.stream, windows.row, strict=True)):
        for t, happened in enumerate(streams[stream][row : row + 8]):
            same({name: column[i, t] for name, column in values.items()}, flat_values(happened.observation))
            if windows.is_first[i, t]:
                assert not batch.prev_action[i, t].any()
            else:
                same(flat_values(codec.clip(actions[i, t])), flat_values(happened.action))


def rows_of(task: str, vectorize: str) -> list[Row]:
    envs = make_envs(AnySuite(LIMIT), task, 2, vectorize=vectorize)
    spec = task_spec(AnySuite(LIMIT), task, envs)
    driver = Driver(envs, spec, RandomPolicy(spec, 0), seed=3)
    rows = [row for _ in range(12) for row in driver.step()]
    envs.close()
    return rows


def test_nested_rows_of_processes_are_those_of_one_process() -> None:
    for one, two in zip(*(rows_of("nested/nested", vectorize) for vectorize in ("sync", "async")), strict=True):
        same(one.observation, two.observation)
        np.testing.assert_array_equal(one.action, two.action)
        assert (one.reward, one.is_first) == (two.reward, two.is_first)


@pytest.fixture
def any_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stages know the suite."""
    for module in ("environments", "render"):
        monkeypatch.setattr(f"dreamctl.stages.{module}.load_suite", lambda _: AnySuite)


@pytest.mark.usefixtures("any_suite")
@pytest.mark.parametrize("task", TASKS)
def test_every_space_is_learned_from_dreamt_played_and_shown(tmp_path: Path, task: str) -> None:
    few = {"updates": 2, "log_every": 1}
    resolved = tiny(
        env={"suite": "any", "task": task, "num_envs": 2, "vectorize": "sync"},
        collect={"steps": 60},
        world_model={**TINY["world_model"], "convolutions": {"depth": 4, "multipliers": [1, 2]}},
        train_wm={**few, "holdout_batches": 1},
        train_ac=few,
        imagine={"episodes": 2, "actions": "policy"},
        eval={"episodes": 2, "num_envs": 2},
    )
    replay, model, agent, dreams, played = (tmp_path / name for name in ("replay", "wm.ckpt", "agent.ckpt", "dreams.h5", "eval.h5"))
    collect(resolved, replay, None, Session())
    train_wm(resolved, [replay], model, None, Session())
    train_ac(resolved, model, [replay], agent, None, Session())
    assert finite(agent)
    imagine(resolved, agent, [replay], dreams, Session())
    result = evaluate(resolved, agent, played, Session())
    assert result.lengths == (LIMIT, LIMIT)
    for file in (dreams, played):
        if task.partition("/")[0] in SHOWN:
            render(resolved, [file], file.with_suffix(".png"), Session())
        shown = open_replay([file])
        episode = shown.load(shown.episodes()[0], truth=file == dreams)
        assert all(episode.observation[name].dtype == space.dtype for name, space in shown.spec.observation.items())
        assert not any(wrong[:-1].any() for wrong in ActionCodec(shown.spec.action).outside(episode.action).values())
    env = AnySuite().make(task)
    env.reset(seed=0)
    assert env.action_space.contains(load(agent).act(env.observation_space.sample()))


@pytest.mark.usefixtures("any_suite")
@pytest.mark.parametrize("name", ["box-scalar", "box-integers", "multi-discrete-2d", "multi-binary", "nested"])
def test_every_way_to_act_in_a_dream(tmp_path: Path, name: str) -> None:
    resolved = tiny(
        env={"suite": "any", "task": f"discrete/{name}", "vectorize": "sync"}, collect={"steps": 40}, train_wm={"updates": 1, "holdout": 0}
    )
    collect(resolved, tmp_path / "replay", None, Session())
    train_wm(resolved, [tmp_path / "replay"], tmp_path / "wm.ckpt", None, Session())
    space = open_replay([tmp_path / "replay"]).spec.action
    codec, given = ActionCodec(space), sampled(space, 6, seed=1)
    rows = np.concatenate([column.reshape(6, -1) for column in codec.columns(given).values()], -1)
    np.save(tmp_path / "stored.npy", given)
    np.save(tmp_path / "rows.npy", rows if codec.nested else given)

    def dreamt(**changes: object) -> Array:
        told = tiny(imagine={"episodes": 2, "end": "never", **changes})
        imagine(told, tmp_path / "wm.ckpt", [tmp_path / "replay"], tmp_path / "dreams.h5", OVERWRITE)
        replay = open_replay([tmp_path / "dreams.h5"])
        return np.stack([replay.load(info).action[2:-1] for info in replay.episodes()])

    def same_actions(found: Array, wanted: Array) -> None:
        same(codec.columns(found), codec.columns(np.broadcast_to(wanted, found.shape)))

    same_actions(dreamt(actions="constant", action=rows[0].tolist()), given[0])
    for file in ("stored.npy", "rows.npy"):
        same_actions(dreamt(actions="file", file=str(tmp_path / file)), given)
    wrong = rows[0].astype(np.float64)
    wrong[-1] = np.nan
    with pytest.raises(UsageError, match=r"imagine\.action: holds nan, wanted actions in"):
        dreamt(actions="constant", action=wrong.tolist())
    with pytest.raises(UsageError, match=rf"imagine\.action: holds {codec.flat_size + 1} numbers, wanted {codec.flat_size}"):
        dreamt(actions="constant", action=[0.0] * (codec.flat_size + 1))
    np.save(tmp_path / "short.npy", given[:2])
    with pytest.raises(UsageError, match=r"short\.npy: has shape .*, wanted at least"):
        dreamt(actions="file", file=str(tmp_path / "short.npy"))
    for actions in ("random", "recorded"):
        assert not any(wrong.any() for wrong in codec.outside(dreamt(actions=actions)).values())


@pytest.mark.usefixtures("any_suite")
def test_a_whole_run_on_images_with_nested_actions_stops_and_goes_on(tmp_path: Path) -> None:
    resolved = tiny(
        env={"suite": "any", "task": "images-and-more/nested", "num_envs": 2, "vectorize": "sync"},
        world_model={**TINY["world_model"], "convolutions": {"depth": 4, "multipliers": [1, 2]}},
        run={"steps": 120, "prefill": 60, "train_ratio": 2, "eval_every": 100, "eval_episodes": 1},
        imagine={"episodes": 1},
    )
    with pytest.raises(StoppedEarly):
        run(resolved, tmp_path / "run", stopping(80))
    result = run(resolved, tmp_path / "run", RESUME)
    assert result.env_steps == 120
    assert finite(tmp_path / "run" / "agent.ckpt")
    assert open_replay([tmp_path / "run" / "replay"]).env_steps == 120
