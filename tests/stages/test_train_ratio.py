import pytest

from dreamctl.stages.train_ratio import TrainRatio


@pytest.mark.parametrize("per_step", [0.03, 0.25, 1.0, 1.7])
def test_updates_keep_pace_whatever_the_strides(per_step: float) -> None:
    for stride in (1, 3, 16):
        ratio, given = TrainRatio(per_step), 0
        for step in range(100, 3000, stride):
            given += ratio(step)
            assert abs(given - 1 - (step - 100) * per_step) <= 1 + 1e-9


def test_going_on_from_where_it_was_changes_nothing() -> None:
    whole = TrainRatio(0.3)
    wanted = [whole(step) for step in range(100, 200)]
    first = TrainRatio(0.3)
    found = [first(step) for step in range(100, 140)]
    second = TrainRatio(0.3, first.reached)
    assert found + [second(step) for step in range(140, 200)] == wanted


def test_lost_steps_are_made_up_for_before_more_updates_are_due() -> None:
    ratio = TrainRatio(0.5)
    assert sum(ratio(step) for step in range(1, 101)) == 50
    again = TrainRatio(0.5, ratio.reached)
    assert [again(step) for step in range(60, 101)] == [0] * 41
    assert sum(again(step) for step in range(101, 121)) == 10


def test_ratio_zero_never_trains() -> None:
    assert [TrainRatio(0.0)(step) for step in range(5)] == [0] * 5
