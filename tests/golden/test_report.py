"""The report of the golden tests: nothing in the fixtures stays uncompared, and no comparison is missed or imagined."""

from pathlib import Path

import numpy as np
import pytest

from tests.golden.report import REPORT, RTOL, Report, results

HERE = Path(__file__).parent


def test_every_number_of_the_fixtures_is_compared(request: pytest.FixtureRequest) -> None:
    ran = {item.path for item in request.session.items}
    narrowed = [argument for argument in request.config.args if "::" in argument] or request.config.getoption("keyword")
    if narrowed or not ran >= set(HERE.glob("test_*.py")):
        pytest.skip("only some of the golden tests ran")
    missing = REPORT.missing(request.config.getoption("--golden"))
    assert missing == [], "\n".join(missing)
    assert max(REPORT.worst.values()) <= RTOL


@pytest.fixture
def report(tmp_path: Path) -> Report:
    np.savez(tmp_path / "file.npz", **{"in.x": np.ones(2), "out.y": np.arange(6.0).reshape(2, 3), "case.grad.z": np.array(4.0)})
    return Report()


def test_a_result_is_known_by_its_slices_and_transposes(report: Report, tmp_path: Path) -> None:
    data = report.load(tmp_path / "file.npz")
    report.compare(np.zeros(2), data["out.y"][:, 0])
    assert report.missing(tmp_path) == ["file out.y (2 of 6 numbers)", "file case.grad.z"]
    report.compare(data["out.y"].T[1:], data["out.y"].T[1:])
    report.compare(np.array(4.1), data["case.grad.z"])
    assert not report.missing(tmp_path)
    assert report.worst["file", "out.y"] == pytest.approx(3 / 3.1)
    assert report.worst["file", "case.grad.z"] == pytest.approx(0.1 / 4.1)


def test_copies_inputs_and_other_shapes_are_no_comparison(report: Report, tmp_path: Path) -> None:
    data = report.load(tmp_path / "file.npz")
    report.compare(np.zeros((2, 3)), data["out.y"].copy())
    report.compare(np.zeros(2), data["in.x"])
    report.compare(np.zeros(()), data["out.y"])
    assert not report.worst


def test_the_table_has_a_line_a_file(report: Report, tmp_path: Path) -> None:
    data = report.load(tmp_path / "file.npz")
    report.compare(data["out.y"] + 1e-9, data["out.y"])
    header, line = report.lines(tmp_path)
    assert "found - wanted" in header
    assert line.split()[:3] == ["file", "2", "1"]


def test_roles_are_told_by_the_first_part_that_names_one() -> None:
    keys = ["in.grad.a", "wd.out.param.a", "s2.param.w.bias", "cfg.out", "v1.bins", "w.dec.out"]
    assert list(results(keys)) == ["wd.out.param.a", "s2.param.w.bias", "v1.bins"]
