"""Norms and nonlinearities by hand."""

import math

import pytest
import torch

from dreamctl.nn.style import LayerNorm, LayerStyle, NoNorm, RMSNorm

X = [1.0, 2.0, 6.0]


def test_rms_norm_by_hand() -> None:
    module = RMSNorm().module(3)
    wanted = [x / math.sqrt((1 + 4 + 36) / 3 + RMSNorm().eps) for x in X]
    assert module(torch.tensor(X)).tolist() == pytest.approx(wanted)


def test_layer_norm_by_hand() -> None:
    module = LayerNorm().module(3)
    wanted = [(x - 3) / math.sqrt((4 + 1 + 9) / 3 + LayerNorm().eps) for x in X]
    assert module(torch.tensor(X)).tolist() == pytest.approx(wanted)


def test_no_norm_leaves_everything() -> None:
    assert NoNorm().module(3)(torch.tensor(X)).tolist() == X


@pytest.mark.parametrize(("name", "below"), [("silu", -2 / (1 + math.exp(2))), ("elu", math.exp(-2) - 1)])
def test_nonlinearities_by_hand(name: str, below: float) -> None:
    style = LayerStyle(activation=name)
    assert style.activate(torch.tensor([-2.0, 0.0])).tolist() == pytest.approx([below, 0.0])
