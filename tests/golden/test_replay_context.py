"""Golden: what a window goes on from, through the function that starts windows with stored latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dreamctl.core.experience import Windows
from dreamctl.replay.windows.starts import Latents, StoredLatents, go_on
from tests.conftest import Golden
from tests.golden.names import check

Data = dict[str, np.ndarray]


class AsStored:
    """The states of a fixture as if they had been stored, handed on as they are."""

    def __init__(self, latents: Latents) -> None:
        self.latents = latents

    def stored(self, windows: Windows) -> Latents:
        assert len(windows.row) == len(self.latents.known)
        return self.latents

    def given(self, latents: Latents) -> Latents:
        return latents


def windows_of(data: Data, case: str) -> Windows:
    """The fixture's (B, 1+T) rows as the sampler would give them, in float64."""
    column = {name: data[f"{case}.in.{name}"] for name in ("is_first", "is_last", "is_terminal")}
    action = data[f"{case}.in.action"].astype(np.float64)
    batch = np.arange(len(action))
    return Windows(
        observation={"vec": data[f"{case}.in.vec"].astype(np.float64)},
        action=action,
        prev_action=np.full_like(action, np.nan),
        reward=data[f"{case}.in.reward"].astype(np.float64),
        is_first=column["is_first"],
        is_last=column["is_last"],
        terminated=column["is_terminal"],
        stream=batch,
        row=batch,
    )


def latents_of(h: np.ndarray, z: np.ndarray) -> Latents:
    return Latents(h.astype(np.float64), z.astype(np.float64).reshape(len(z), -1), np.ones(len(h), bool))


def begun(data: Data, case: str, windows: Windows) -> tuple[Windows, Latents]:
    """The first windows of a chunk go on from what is stored, later ones from what is carried over.

    Either way the first previous action is that of the row in front: the official code prepends the carried one and then cuts it off.
    """
    if case == "consec0":
        stored = latents_of(data[f"{case}.in.dyn.deter"][:, 0], data[f"{case}.in.dyn.stoch"][:, 0])
        return StoredLatents().begin(windows, AsStored(stored))
    carried = latents_of(data[f"{case}.in.carry_deter"], data[f"{case}.in.carry_stoch"])
    return go_on(windows, carried)


@pytest.mark.parametrize("case", ["consec0", "consec1"])
def test_replay_context(golden: Golden, case: str) -> None:
    data = golden("replay_context")
    windows = windows_of(data, case)
    rest, latents = begun(data, case, windows)
    found = {"vec": rest.observation["vec"], "reward": rest.reward, "is_last": rest.is_last, "is_terminal": rest.terminated}
    found |= {"is_first": rest.is_first, "deter0": latents.h, "stoch0": latents.z.reshape(data[f"{case}.out.stoch0"].shape)}
    for name, array in found.items():
        check(torch.from_numpy(np.ascontiguousarray(array)), data[f"{case}.out.{name}"], name)
    # The official code leaves the action before a first row to the model, which takes it for zero; here it is zero already.
    assert not rest.prev_action[rest.is_first].any()
    inside, _ = begun(data, case, replace(windows, is_first=np.zeros_like(windows.is_first)))
    check(torch.from_numpy(inside.prev_action), data[f"{case}.out.prevact"], "prevact")
    kept = ~rest.is_first
    assert (rest.prev_action[kept] == inside.prev_action[kept]).all()
