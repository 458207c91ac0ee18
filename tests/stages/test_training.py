from pathlib import Path

import numpy as np
import pytest
import torch

from dreamctl.core.errors import TrainingDiverged
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.stages.training import Trainer, to_batch


def test_a_batch_holds_one_hot_actions_and_none_where_nothing_led_here(replay: Path) -> None:
    data = open_replay([replay])
    windows = WindowSampler(data, ReplayConfig(batch_size=6, batch_length=30), seed=0).sample(0)
    batch = to_batch(windows, data.spec, torch.device("cpu"))
    assert windows.is_first[:, 1:].any()
    sums = batch.prev_action.sum(-1).numpy()
    np.testing.assert_array_equal(sums, (~windows.is_first).astype(np.float32), "no action is not choice number 0")
    taken = batch.prev_action.argmax(-1).numpy()
    np.testing.assert_array_equal(taken[:, 1:][~windows.is_first[:, 1:]], windows.action[:, :-1][~windows.is_first[:, 1:]])
    assert batch.observation["observation"].shape == (6, 30, 4)
    assert batch.reward.dtype == batch.observation["observation"].dtype == torch.float32


def test_figures_are_means_since_the_last_call_and_must_be_finite() -> None:
    trainer = Trainer(None, None, None, None, 0)  # type: ignore[arg-type]
    assert trainer.figures() == {}
    trainer._pending += [{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(3.0)}]
    assert trainer.figures() == {"loss": 2.0}
    assert trainer.figures() == {}
    trainer._pending += [{"loss": torch.tensor(1.0), "loss/reward": torch.tensor(float("nan"))}]
    with pytest.raises(TrainingDiverged, match="loss/reward became non-finite"):
        trainer.figures()
