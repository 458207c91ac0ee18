"""Golden: updates that are due at each environment step."""

import pytest
import torch

from dreamctl.stages.train_ratio import TrainRatio
from tests.conftest import Golden
from tests.golden.names import check


@pytest.mark.parametrize("case", ["a", "b", "c", "d", "e"])
def test_train_ratio(golden: Golden, case: str) -> None:
    data = golden("train_ratio")
    replayed, size, length, _ = data[f"{case}.in.ratio_batch_len_envs"]
    ratio = TrainRatio(replayed / (size * length))
    repeats = [ratio(int(step)) for step in data[f"{case}.in.steps"]]
    check(torch.tensor(repeats), data[f"{case}.out.repeats"])
