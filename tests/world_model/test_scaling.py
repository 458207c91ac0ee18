import math

import pytest
import torch

from dreamctl.world_model.scaling import STD_FLOOR, Standardize, SymlogOnly, VectorScaler, VectorScaling
from tests.kinds import each

ROWS = {"place": torch.tensor([[1.0, 5.0], [3.0, 5.0]]), "speed": torch.tensor([[0.0], [200.0]])}
SIZES = {"speed": 1, "place": 2}


def fitted(kind: VectorScaling) -> VectorScaler:
    scaler = VectorScaler(kind, SIZES)
    scaler.fit(ROWS)
    return scaler


@each("kind", VectorScaling)
def test_every_kind_is_undone(kind: type) -> None:
    scaler = fitted(kind())
    for name, rows in ROWS.items():
        x = torch.cat([rows, 100 * rows, -rows])
        torch.testing.assert_close(scaler.unscale(name, scaler.scale(name, x)), x, rtol=1e-4, atol=1e-4)


@each("kind", VectorScaling)
def test_every_kind_travels_with_the_weights_and_is_frozen(kind: type) -> None:
    scaler = fitted(kind())
    twin = VectorScaler(kind(), SIZES)
    twin.load_state_dict(scaler.state_dict())
    twin.fit({name: rows * 7 + 3 for name, rows in ROWS.items()})
    assert all(torch.equal(twin.scale(name, rows), scaler.scale(name, rows)) for name, rows in ROWS.items())


def test_standardize_by_hand() -> None:
    scaler = fitted(Standardize())
    found = scaler(ROWS)
    assert found["speed"].flatten().tolist() == pytest.approx([-math.log(2), math.log(2)])
    assert found["place"][:, 0].tolist() == pytest.approx([-math.log(2), math.log(2)])
    assert found["place"][:, 1].tolist() == [0, 0]


def test_what_never_varied_has_a_floor() -> None:
    scaled = fitted(Standardize()).scale("place", torch.tensor([1.0, 5.0 + STD_FLOOR]))
    assert scaled[1].item() == pytest.approx(math.log(2), rel=1e-3)


def test_statistics_of_large_offsets_keep_their_digits() -> None:
    rows = 1e6 + torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    mean, std = Standardize().statistics(rows)
    assert mean.item() == 1e6 + 1.5
    assert std.item() == pytest.approx(math.sqrt(1.25))


def test_symlog_only_ignores_the_rows() -> None:
    scaler = fitted(SymlogOnly())
    assert scaler.scale("speed", torch.tensor([math.e - 1])).item() == pytest.approx(1.0)
