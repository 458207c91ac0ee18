from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dreamctl.core.errors import TrainingDiverged
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.stages.training import Trainer, fit_scaling, to_batch
from dreamctl.world_model.scaling import Standardize, VectorScaler
from tests.replay.pictures import SPEC, picture_rows
from tests.replay.rows import write


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


def test_the_scaling_is_fitted_to_wide_vectors_too_which_are_read_from_disk(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", picture_rows([50, 40]), spec=SPEC, shard_rows=40)
    scaler = VectorScaler(Standardize(), {"wide": 100, "small": 2})
    fit_scaling(SimpleNamespace(scaler=scaler), open_replay([folder]))  # type: ignore[arg-type]
    assert scaler.scale("wide", torch.full((1, 100), 44.5)).abs().max() < 1e-6, "the mean of the numbers 0 to 89"
    assert scaler.scale("small", torch.tensor([[0.0, 44.5]])).abs().max() < 1e-6


def test_figures_are_means_since_the_last_call_and_must_be_finite() -> None:
    trainer = Trainer(None, None, None, None, 0)  # type: ignore[arg-type]
    assert trainer.figures() == {}
    trainer._pending += [{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(3.0)}]
    assert trainer.figures() == {"loss": 2.0}
    assert trainer.figures() == {}
    trainer._pending += [{"loss": torch.tensor(1.0), "loss/reward": torch.tensor(float("nan"))}]
    with pytest.raises(TrainingDiverged, match="loss/reward became non-finite"):
        trainer.figures()
