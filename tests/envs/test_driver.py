"""Rows follow the time table, in every lane, whatever the environment does."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamctl.core.errors import EnvironmentFailure, TrainingDiverged
from dreamctl.core.spaces import spec_from_json, spec_to_json
from dreamctl.envs.driver import Driver, Frames, gym_spec, iter_episodes, make_envs, run_episodes, task_spec
from dreamctl.envs.gym import Gym
from tests.envs.toy_suites import Still, Toy


def drive(suite=None, lanes=3, steps=12, action=(0.0, 0.0), task="walk", **options):
    suite = suite or Toy()
    envs = make_envs(suite, task, lanes, render_mode="rgb_array", vectorize="sync")
    driver = Driver(envs, task_spec(suite, task, envs), Still(action), **options)
    return [driver.step() for _ in range(steps)], driver


def test_lanes_go_on_with_the_reset_row_after_the_last_row() -> None:
    rows, driver = drive()
    lane = [step[1] for step in rows]
    assert [row.observation["time"].item() for row in lane] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    assert [row.is_first for row in lane] == [i % 6 == 0 for i in range(12)]
    assert [row.truncated for row in lane] == [i % 6 == 5 for i in range(12)]
    assert not any(row.terminated for row in lane)
    assert all(row.reward == 0 for row in lane if row.is_first)
    assert driver.env_steps == 3 * 10


def test_a_task_that_ends_is_terminated_and_not_truncated() -> None:
    rows, _ = drive(Toy(limit=50), action=(-1.0, 0.0))
    last = next(row for step in rows for row in step if row.is_last)
    assert last.terminated
    assert not last.truncated
    assert (last.action == 0).all()


def test_actions_are_stored_as_chosen_and_clipped_for_the_environment_only() -> None:
    rows, driver = drive(action=(3.0, 0.5))
    assert rows[0][0].action.tolist() == [3.0, 0.5]
    assert rows[0][0].action.dtype == np.float32
    received = driver.envs.envs[0].unwrapped.received
    assert received[0].tolist() == [1.0, 0.5]
    assert received[0].dtype == np.float64


def test_nested_observations_are_flat_and_64_bit_floats_become_32_bit() -> None:
    rows, driver = drive()
    assert set(driver.spec.observation) == {"body/place", "time"}
    assert {name: (value.shape, value.dtype) for name, value in rows[0][0].observation.items()} == {
        "body/place": ((2,), np.float32),
        "time": ((), np.float32),
    }
    assert driver.spec.observation["body/place"].dtype == np.float32
    assert driver.spec.action.dtype == np.float32


def test_observations_have_the_order_of_a_stored_spec() -> None:
    env, image = gymnasium.Env(), spaces.Box(0, 255, (8, 8, 3), np.uint8)
    env.observation_space = spaces.Dict([("cam-far", image), ("cam", spaces.Dict(right=image, left=image))])
    env.action_space = spaces.Discrete(2)
    spec = task_spec(Toy(), "walk", env)
    assert list(spec.observation) == list(spec_from_json(spec_to_json(spec)).observation) == ["cam-far", "cam/left", "cam/right"]


def test_rows_of_a_step_stay_as_they_are_when_the_driver_goes_on() -> None:
    rows, driver = drive(steps=2)
    before = rows[1][0].observation["body/place"].copy(), rows[1][0].action.copy()
    driver.step()
    np.testing.assert_array_equal(rows[1][0].observation["body/place"], before[0])
    np.testing.assert_array_equal(rows[1][0].action, before[1])


def test_the_seed_decides_the_rows_and_the_offset_other_ones() -> None:
    runs = (drive(seed=seed, offset=offset)[0] for seed, offset in ((1, 0), (1, 0), (1, 9)))
    place = [[row.observation["body/place"].tolist() for step in rows for row in step] for rows in runs]
    assert place[0] == place[1]
    assert place[0][0] != place[2][0]


def test_first_episodes_carry_their_reset_seed_and_later_ones_none() -> None:
    rows, _ = drive()
    assert all(row.seed >= 0 for step in rows[:6] for row in step)
    assert len({row.seed for row in rows[0]}) == 3
    assert all(row.seed == -1 for step in rows[6:] for row in step)


def test_a_policy_can_be_replaced_between_steps() -> None:
    _, driver = drive(steps=2)
    driver.policy = Still((0.25, 0.0))
    assert driver.step()[0].action[0] == 0.25


def test_processes_give_the_rows_of_one_process() -> None:
    both = []
    for vectorize in ("sync", "async"):
        envs = make_envs(Toy(), "walk", 2, vectorize=vectorize)
        driver = Driver(envs, task_spec(Toy(), "walk", envs), Still((0.5, -1.0)), seed=4)
        rows = [row for _ in range(9) for row in driver.step()]
        both.append([(row.observation["body/place"].tolist(), row.reward, row.is_first, row.truncated) for row in rows])
        envs.close()
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("nan reward", "reward is nan"),
        ("large reward", r"reward is 1e\+39, wanted one that a float32 holds"),
        ("infinite observation", "observation 'body/place' is"),
        ("raises", "RuntimeError: the floor is gone"),
        ("leaves", "SystemExit: 0"),
    ],
)
def test_a_failing_environment_is_named_with_lane_and_step_in_one_line(defect: str, said: str) -> None:
    with pytest.raises(EnvironmentFailure, match=said) as failure:
        drive(Toy(defect=defect))
    message = str(failure.value)
    assert message.startswith("toy:walk: lane 0, step ")
    assert "\n" not in message


def test_an_observation_of_another_shape_says_where_to_look_closer() -> None:
    with pytest.raises(EnvironmentFailure, match=r"^toy:walk: after 1 steps: .*; `dreamctl envs check toy:walk` looks closer$"):
        drive(Toy(defect="grows"), lanes=1)


def test_a_failure_in_a_process_keeps_its_place() -> None:
    envs = make_envs(Toy(defect="raises"), "walk", 2, vectorize="async")
    driver = Driver(envs, task_spec(Toy(), "walk", envs), Still((0.0, 0.0)))
    with (
        pytest.raises(EnvironmentFailure, match=r"toy:walk: lane \d, step 3 .* the floor is gone"),
        warnings.catch_warnings(record=True) as told,
    ):
        [driver.step() for _ in range(5)]
    assert not told
    envs.close(terminate=True)


def test_a_policy_that_is_not_finite_is_not_blamed_on_the_environment() -> None:
    with pytest.raises(TrainingDiverged, match="the policy's action is not finite"):
        drive(action=(np.nan, 0.0))


def test_an_environment_that_prints_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    drive(Toy(defect="prints"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hello" in printed.err


def test_frames_are_scaled_to_their_short_side() -> None:
    rows, _ = drive(frames=Frames(short_side=30))
    assert rows[0][0].extra["frame"].shape == (30, 40, 3)
    assert rows[3][2].extra["frame"].max() == 3
    assert drive(frames=Frames())[0][0][0].extra["frame"].shape == (60, 80, 3)


def test_episodes_come_one_a_seed_whatever_the_number_of_lanes() -> None:
    def play(lanes):
        envs = make_envs(Toy(limit=7), "walk", lanes, vectorize="sync")
        return run_episodes(envs, task_spec(Toy(), "walk", envs), Still((-0.3, 0.0)), [11, 12, 13, 14, 15])

    one, three = play(1), play(3)
    assert [episode.seed for episode in three] == [11, 12, 13, 14, 15]
    assert len({len(episode) for episode in three}) > 1
    for left, right in zip(one, three, strict=True):
        np.testing.assert_array_equal(left.observation["body/place"], right.observation["body/place"])
        assert left.episode_return == right.episode_return
        assert right.is_first.tolist() == [True] + [False] * (len(right) - 1)
        assert (right.terminated | right.truncated).tolist() == [False] * (len(right) - 1) + [True]


def test_evaluation_tells_its_steps_and_may_be_left() -> None:
    envs = make_envs(Toy(), "walk", 2, vectorize="sync")
    told: list[int] = []
    list(iter_episodes(envs, task_spec(Toy(), "walk", envs), Still((0.0, 0.0)), [1, 2, 3], on_step=told.append))
    assert told[-1] == 15
    assert told == sorted(told)


def test_discrete_actions_keep_the_space_start() -> None:
    rows, driver = drive(Gym(), task="CartPole-v1", action=1, lanes=2)
    assert rows[0][0].action.dtype == np.int64
    assert rows[0][0].action == 1
    assert '"id": "CartPole-v1"' in gym_spec(driver.envs)
    assert driver.spec.name == "gym:CartPole-v1"
