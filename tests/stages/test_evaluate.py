import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.errors import InputError, StoppedEarly, UsageError
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.stages.evaluate import EvalResult, choice_seeds, evaluate, plan, report_seeds
from tests.stages.tiny import OVERWRITE, stopping, tiny

FIELDS = [
    "env",
    "return_mean",
    "return_std",
    "return_min",
    "return_max",
    "return_median",
    "return_ci95",
    "length_mean",
    "episodes",
    "env_steps",
    "returns",
    "seeds",
]


def test_each_episode_has_a_seed_of_its_own(agent: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval.h5"
    result = evaluate(tiny(eval={"episodes": 5, "num_envs": 2}), agent, out, Session(seed=3))
    assert list(result.seeds) == report_seeds(3, 5)
    replay = open_replay([out])
    infos = replay.episodes()
    assert [info.seed for info in infos] == list(result.seeds)
    assert [info.episode_return for info in infos] == list(result.returns)
    assert [info.length - 1 for info in infos] == list(result.lengths)
    assert all(info.complete for info in infos)
    starts = {replay.load(info).observation["observation"][0].tobytes() for info in infos}
    assert len(starts) == 5


def test_seeds_of_scores_choices_and_collecting_never_meet() -> None:
    report = {seed for run in range(50) for seed in report_seeds(run, 100)}
    choice = {seed for run in range(50) for seed in choice_seeds(run, 100)}
    assert len(report) == len(choice) == 5000
    assert not report & choice
    assert min(report | choice) > 500_000


def test_the_json_has_the_fields_of_the_design(agent: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval.h5"
    told = evaluate(tiny(), agent, out, Session()).to_json()
    assert set(told) == {"path", *FIELDS}
    assert set(evaluate(tiny(), agent, None, Session()).to_json()) == set(FIELDS)
    json.dumps(told)
    returns = np.array(told["returns"])
    assert told["return_mean"] == returns.mean()
    assert told["return_std"] == pytest.approx(returns.std(ddof=1))
    assert told["return_ci95"] == pytest.approx(1.96 * returns.std(ddof=1) / len(returns) ** 0.5)
    assert (told["episodes"], told["env"]) == (3, "gym:CartPole-v1")
    assert told["env_steps"] == returns.sum(), "CartPole pays one a step"
    assert told["length_mean"] == returns.mean()


def test_scores_by_hand() -> None:
    told = EvalResult(None, "gym:Toy", (1.0, 2.0, 6.0), (1, 2, 3), (7, 8, 9)).to_json()
    assert (told["return_mean"], told["return_median"], told["return_min"], told["return_max"]) == (3.0, 2.0, 1.0, 6.0)
    assert told["return_std"] == pytest.approx(7**0.5)
    assert (told["length_mean"], told["env_steps"]) == (2.0, 6)
    assert EvalResult(None, "gym:Toy", (4.0,), (1,), (7,)).to_json()["return_std"] == 0


def test_the_same_seed_plays_the_same_episodes(agent: Path) -> None:
    one, two, other = (evaluate(tiny(), agent, None, Session(seed=seed)) for seed in (1, 1, 2))
    assert one == two
    assert one.seeds != other.seeds


@pytest.mark.parametrize("action", ["sample", "mode"])
def test_actions_are_sampled_or_the_likeliest(agent: Path, tmp_path: Path, action: str) -> None:
    result = evaluate(tiny(eval={"action": action}), agent, tmp_path / "eval.h5", Session())
    assert min(result.returns) > 5
    assert open_replay([tmp_path / "eval.h5"]).env_steps == sum(result.lengths)


def test_frames_are_stored_beside_the_rows(agent: Path, tmp_path: Path) -> None:
    evaluate(tiny(eval={"episodes": 1, "frame_size": 40}), agent, tmp_path / "eval.h5", Session(), frames=True)
    replay = open_replay([tmp_path / "eval.h5"])
    episode = replay.load(replay.episodes()[0], ["frame"])
    assert episode.extra["frame"].shape == (len(episode), 40, 60, 3)
    assert episode.extra["frame"].std() > 0


def test_stopping_writes_nothing(agent: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedEarly):
        evaluate(tiny(eval={"episodes": 4, "num_envs": 1}), agent, tmp_path / "eval.h5", stopping(2))
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_refused_or_replaced(agent: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval.h5"
    evaluate(tiny(), agent, out, Session())
    with pytest.raises(UsageError, match="exists; use"):
        evaluate(tiny(), agent, out, Session())
    evaluate(tiny(), agent, out, replace(OVERWRITE, seed=2))
    assert open_replay([out]).episodes()[0].seed == report_seeds(2, 1)[0]


def test_a_world_model_cannot_be_evaluated(world_model: Path) -> None:
    with pytest.raises(InputError, match="holds a world model without an actor; wanted an agent"):
        evaluate(tiny(), world_model, None, Session())


def test_another_task_of_the_same_spaces_is_played(agent: Path) -> None:
    result = evaluate(tiny(env={"task": "CartPole-v0"}), agent, None, Session())
    assert result.env == "gym:CartPole-v0"


def test_an_environment_of_other_spaces_is_refused(agent: Path) -> None:
    with pytest.raises(InputError, match=r"action is Discrete\(2\), wanted Discrete\(3\) \(as in the environment\)"):
        evaluate(tiny(env={"task": "Acrobot-v1"}), agent, None, Session())


def test_without_a_task_the_agents_own_is_played(agent: Path) -> None:
    result = evaluate(tiny(env={"task": ""}), agent, None, Session())
    assert result.env == "gym:CartPole-v1"


def test_a_plan_plays_nothing(agent: Path, tmp_path: Path) -> None:
    found = plan(tiny(), agent, tmp_path / "eval.h5", Session()).items
    assert found["environment"] == "gym:CartPole-v1"
    assert list(tmp_path.iterdir()) == []
