import math

import numpy as np
import pytest
import torch

from dreamctl.actor_critic.returns import (
    DeviationScale,
    NoScale,
    PercentileScale,
    ReturnScale,
    ReturnScaler,
    lambda_return,
    percentile,
    replay_return,
)
from tests.kinds import each

close = torch.testing.assert_close
GAMMA = 0.9


def rows(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# λ-returns of dreams.


def test_lambda_return_by_hand() -> None:
    reward, continue_prob, value = rows(7, 1, 2, 3), rows(0.1, 0.5, 0.8, 0.9), rows(9, 10, 20, 30)
    last = 3 + 0.9 * 30
    middle = 2 + 0.8 * (0.25 * 20 + 0.75 * last)
    first = 1 + 0.5 * (0.25 * 10 + 0.75 * middle)
    close(lambda_return(reward, continue_prob, value, 0.75), rows(first, middle, last))


def test_trace_zero_looks_one_step_ahead() -> None:
    reward, continue_prob, value = random(4, 6), random(4, 6, seed=1).sigmoid(), random(4, 6, seed=2)
    close(lambda_return(reward, continue_prob, value, 0.0), (reward + continue_prob * value)[:, 1:])


def test_trace_one_is_the_discounted_sum_and_the_last_value() -> None:
    reward, value = random(4, 6), random(4, 6, seed=2)
    found = lambda_return(reward, torch.full_like(reward, GAMMA), value, 1.0)
    for i in range(5):
        wanted = sum(GAMMA**k * reward[:, i + 1 + k] for k in range(5 - i)) + GAMMA ** (5 - i) * value[:, 5]
        close(found[:, i], wanted)


def test_it_is_the_mixture_of_n_step_returns() -> None:
    trace, horizon = 0.7, 5
    reward, value = random(4, horizon + 1), random(4, horizon + 1, seed=2)
    found = lambda_return(reward, torch.full_like(reward, GAMMA), value, trace)
    for i in range(horizon):
        left = horizon - i
        n_step = [sum(GAMMA**k * reward[:, i + 1 + k] for k in range(n)) + GAMMA**n * value[:, i + n] for n in range(1, left + 1)]
        mixture = sum((1 - trace) * trace ** (n - 1) * n_step[n - 1] for n in range(1, left)) + trace ** (left - 1) * n_step[-1]
        close(found[:, i], mixture)


def test_nothing_behind_an_end_counts() -> None:
    reward, continue_prob, value = random(4, 6), torch.full((4, 6), GAMMA).double(), random(4, 6, seed=2)
    continue_prob[:, 3] = 0
    found = lambda_return(reward, continue_prob, value, 0.95)
    close(found[:, 2], reward[:, 3])
    other = value.clone()
    other[:, 3:] += 100
    later = reward.clone()
    later[:, 4:] -= 100
    close(lambda_return(later, continue_prob, other, 0.95)[:, :3], found[:, :3])


@pytest.mark.parametrize("trace", [0.0, 0.5, 0.95, 1.0])
def test_the_true_value_is_a_fixed_point(trace: float) -> None:
    ones = torch.ones(2, 6, dtype=torch.float64)
    value = 3 / (1 - GAMMA) * ones
    close(lambda_return(3 * ones, GAMMA * ones, value, trace), value[:, :-1])


def test_the_first_reward_is_never_used_and_the_first_continue_neither() -> None:
    reward, continue_prob, value = random(2, 4), random(2, 4, seed=1).sigmoid(), random(2, 4, seed=2)
    found = lambda_return(reward, continue_prob, value, 0.95)
    for column in (reward, continue_prob, value):
        column[:, 0] += 50
    close(lambda_return(reward, continue_prob, value, 0.95), found)


# Returns along real experience.


def flags(length: int, *steps: int) -> torch.Tensor:
    mask = torch.zeros(1, length, dtype=torch.bool)
    mask[0, list(steps)] = True
    return mask


def live(terminated: torch.Tensor) -> torch.Tensor:
    return GAMMA * (~terminated).double()


def test_replay_return_without_an_end_is_the_lambda_return() -> None:
    reward, boot, none = random(1, 6), random(1, 6, seed=1), flags(6)
    close(replay_return(reward, live(none), none, boot, 0.9), lambda_return(reward, live(none), boot, 0.9))


def test_the_time_limit_cuts_the_trace_and_keeps_the_bootstrap() -> None:
    reward, boot, last = random(1, 6), random(1, 6, seed=1), flags(6, 3)
    found = replay_return(reward, live(flags(6)), last, boot, 0.9)
    close(found[:, 2], reward[:, 3] + GAMMA * boot[:, 3])


def test_a_terminal_cuts_both() -> None:
    reward, boot, last = random(1, 6), random(1, 6, seed=1), flags(6, 3)
    close(replay_return(reward, live(last), last, boot, 0.9)[:, 2], reward[:, 3])


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "time limit"])
def test_what_comes_after_a_reset_never_reaches_back(terminal: bool) -> None:
    reward, boot, last = random(1, 6), random(1, 6, seed=1), flags(6, 3)
    continues = live(last if terminal else flags(6))
    found = replay_return(reward, continues, last, boot, 0.9)
    reward[:, 4:] += 9
    boot[:, 4:] -= 9
    other = replay_return(reward, continues, last, boot, 0.9)
    close(other[:, :3], found[:, :3])
    assert not torch.allclose(other[:, 3:], found[:, 3:])


# The scale of returns.


def test_percentiles_are_numpys() -> None:
    values = random(101, seed=4)
    for level in (0.0, 0.05, 0.333, 0.5, 0.95, 1.0):
        assert percentile(values.sort().values, level).item() == pytest.approx(np.percentile(values.numpy(), 100 * level), rel=1e-12)
    assert percentile(torch.tensor([3.0]), 0.95).item() == 3


@each("kind", ReturnScale)
def test_every_kind_is_never_below_one_and_has_no_gradient(kind: type) -> None:
    scaler = ReturnScaler(kind()).double()
    assert scaler.scale.item() == 1
    for scale in (1e-3, 1.0, 1e5):
        scaler.update((scale * random(50, 15)).requires_grad_())
        assert scaler.scale >= 1
        assert not scaler.scale.requires_grad


def test_scale_by_hand() -> None:
    scaler = ReturnScaler(PercentileScale(rate=0.5))
    returns = torch.arange(101.0).reshape(1, 101)
    scaler.update(returns)
    assert scaler.scale.item() == pytest.approx(0.5 * 90)
    scaler.update(returns)
    assert (scaler.low.item(), scaler.high.item()) == pytest.approx((0.75 * 5, 0.75 * 95))


def test_a_debiased_scale_is_whole_from_the_first_update() -> None:
    scaler = ReturnScaler(PercentileScale(rate=0.01, debias=True))
    returns = torch.arange(101.0)
    for _ in range(3):
        scaler.update(returns)
        assert scaler.scale.item() == pytest.approx(90, rel=1e-4)


def test_a_standard_deviation_by_hand() -> None:
    scaler = ReturnScaler(DeviationScale(rate=0.5, debias=False)).double()
    scaler.update(torch.tensor([2.0, 6.0]).double())
    assert scaler.scale.item() == pytest.approx((0.5 * 20 - (0.5 * 4) ** 2) ** 0.5)
    whole = ReturnScaler(DeviationScale()).double()
    for _ in range(3):
        whole.update(torch.tensor([2.0, 6.0]).double())
        assert whole.scale.item() == pytest.approx(2.0)


def test_no_scale_is_one_and_keeps_nothing() -> None:
    scaler = ReturnScaler(NoScale())
    scaler.update(1e6 * random(5, 3))
    assert scaler.scale.item() == 1
    assert scaler.state_dict() == {}


def test_small_returns_are_not_blown_up_and_large_ones_are_tamed() -> None:
    returns = random(400, 15)
    scales = {}
    for factor in (1e-3, 1e3, 1e6):
        scaler = ReturnScaler(PercentileScale()).double()
        for _ in range(700):
            scaler.update(factor * returns)
        scales[factor] = scaler.scale.item()
    assert scales[1e-3] == 1
    assert scales[1e6] / scales[1e3] == pytest.approx(1000, rel=1e-3)
    wanted = np.percentile(returns.numpy(), 95) - np.percentile(returns.numpy(), 5)
    assert scales[1e3] == pytest.approx(1000 * wanted, rel=1e-3)
    assert math.isfinite(scales[1e6])


def test_scaled_advantages_do_not_know_the_unit_of_large_rewards() -> None:
    """Rewards and values in another unit give the same advantages once the scale has settled; tiny ones stay as they are."""
    reward, value, continues = random(400, 16), random(400, 16, seed=2), torch.full((400, 16), GAMMA).double()
    found = {}
    for unit in (1e-3, 1e3, 1e6):
        returns = lambda_return(unit * reward, continues, unit * value, 0.95)
        scaler = ReturnScaler(PercentileScale(rate=0.1)).double()
        for _ in range(250):
            scaler.update(returns)
        found[unit] = (returns - unit * value[:, :-1]) / scaler.scale
    close(found[1e6], found[1e3], rtol=1e-6, atol=1e-9)
    assert 0.1 < found[1e3].std() < 1
    close(found[1e-3], 1e-3 * (lambda_return(reward, continues, value, 0.95) - value[:, :-1]))
