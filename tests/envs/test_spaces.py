"""Environments of every space under the driver and the conformance check; what is not learned from is refused at once."""

import numpy as np
import pytest

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import EnvironmentFailure, TrainingDiverged
from dreamctl.envs.check import check_suite
from dreamctl.envs.driver import Driver, make_envs, task_spec
from dreamctl.stages.policy import RandomPolicy
from tests.envs.toy_suites import Still
from tests.spaces import ACTIONS, DEEP, REFUSED, AnySuite


def driver_of(task: str, policy: object = None) -> Driver:
    envs = make_envs(AnySuite(), task, 2, vectorize="sync")
    spec = task_spec(AnySuite(), task, envs)
    return Driver(envs, spec, policy or RandomPolicy(spec, 0))


@pytest.mark.parametrize("task", ["nested/nested", "images-and-more/multi-discrete-2d", "box/tuple"])
def test_environments_of_every_sort_of_space_conform(task: str) -> None:
    findings = check_suite(AnySuite(), task)
    assert {finding.check: finding.detail for finding in findings if finding.outcome == "failed"} == {}
    corners = next(finding for finding in findings if "corners" in finding.check)
    assert corners.outcome == "passed"


@pytest.mark.parametrize("vectorize", ["sync", "async"])
@pytest.mark.parametrize("name", [*REFUSED, *DEEP])
def test_what_is_not_learned_from_is_refused_before_anything_begins(name: str, vectorize: str) -> None:
    kind = name.split()[-1]
    for task, what in ((f"{name}/discrete", "observation"), (f"box/{name}", "action")):
        with pytest.raises(EnvironmentFailure, match=rf"^anysuite:{task}: .*{what}.* is a {kind} space; Box, .*, wrap it$"):
            make_envs(AnySuite(), task, 2, vectorize=vectorize)


@pytest.mark.parametrize("name", ACTIONS)
def test_the_action_of_a_last_row_is_zero(name: str) -> None:
    driver = driver_of(f"discrete/{name}")
    rows = [row for _ in range(11) for row in driver.step()]
    last = [row for row in rows if row.is_last]
    assert len(last) == 2
    codec = ActionCodec(driver.spec.action)
    for row in last:
        assert not any(column.any() for column in codec.columns(row.action).values())


def test_an_observed_choice_that_there_is_not_is_the_environments_failure() -> None:
    driver = driver_of("nested/discrete")
    lane = driver.envs.envs[1].unwrapped
    lane._observation = lambda: {**lane.observation_space.sample(), "arm": {"grip": 2, "angles": np.zeros((2, 2))}}
    with pytest.raises(EnvironmentFailure, match=r"lane 1, step 0 of an episode: observation 'arm/grip' is 2, wanted one of Discrete\(2\)"):
        driver.step()


def test_a_nested_action_that_is_not_finite_is_the_policys_failure() -> None:
    action = ActionCodec(ACTIONS["dict"]).zeros()
    action["push"][1] = np.nan
    with pytest.raises(TrainingDiverged, match="the policy's action is not finite"):
        driver_of("box/dict", Still(action)).step()
