"""What the golden tests compared: which result of which fixture file, how much of it, and how far from it the worst number was.

An array is known by the memory that it lies in, so a test may rename, slice or transpose what it loaded before it compares.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RTOL, ATOL = 1e-6, 1e-7
# `init` says how weights are drawn: compared by their spread, not number by number.
INPUTS, RESULTS = {"in", "w", "cfg", "init"}, {"out", "grad", "param", "bins"}

Name = tuple[str, str]


def results(keys: Iterable[str]) -> Iterator[str]:
    """The keys of a fixture file that hold results; the first part of a key that says its role counts, so `in.grad.a` is an input."""
    for key in keys:
        role = next((part for part in key.split(".") if part in INPUTS | RESULTS), None)
        assert role, f"{key}: neither input nor result"
        if role in RESULTS:
            yield key


def worst_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """max |found - wanted| / (|wanted| + ATOL / RTOL): the golden tolerance is met where it is at most RTOL."""
    wanted = np.asarray(wanted, np.float64)
    return float(np.max(np.abs(found - wanted) / (np.abs(wanted) + ATOL / RTOL), initial=0.0))


@dataclass
class Report:
    """Comparisons of one session, file and key -> worst error and the numbers compared."""

    loaded: dict[Name, np.ndarray] = field(default_factory=dict)
    worst: dict[Name, float] = field(default_factory=dict)
    seen: dict[Name, np.ndarray] = field(default_factory=dict)

    def load(self, path: Path) -> dict[str, np.ndarray]:
        """The arrays of a fixture file, whose results are recognised from now on."""
        with np.load(path, allow_pickle=False) as file:
            data = {key: np.array(file[key], order="C") for key in file.files}
        for key in results(data):
            self.loaded.pop((path.stem, key), None)
            self.loaded[path.stem, key] = data[key]
        return data

    def compare(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Note a comparison with a loaded array or with a view into one; anything else was made by the test itself."""
        name = next((name for name, array in reversed(self.loaded.items()) if np.may_share_memory(array, wanted)), None)
        if name is None or found.shape != wanted.shape:
            return
        self.worst[name] = max(self.worst.get(name, 0.0), worst_error(found, wanted))
        self._view(name, wanted)[...] = True

    def _view(self, name: Name, wanted: np.ndarray) -> np.ndarray:
        """The marks of the numbers that a view shows: the same offset and strides, counted in numbers."""
        array = self.loaded[name]
        marks = self.seen.setdefault(name, np.zeros(array.size, bool))
        offset = (wanted.__array_interface__["data"][0] - array.__array_interface__["data"][0]) // array.itemsize
        return np.ndarray(wanted.shape, bool, marks.data, offset, [step // array.itemsize for step in wanted.strides])

    def missing(self, folder: Path) -> list[str]:
        """Results of a folder of fixtures of which not every number was compared, `file key`, with how much of it was."""
        found = []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as file:
                for key in results(file.files):
                    name, marks = f"{path.stem} {key}", self.seen.get((path.stem, key), np.zeros(1, bool))
                    if not marks.all():
                        found.append(name + (f" ({marks.sum()} of {marks.size} numbers)" if marks.any() else ""))
        return found

    def lines(self, folder: Path) -> Iterator[str]:
        """A table, a line a fixture file with which something was compared."""
        yield f"{'fixture':<16} results compared   worst   |found - wanted| / (|wanted| + {ATOL / RTOL:g}), at most {RTOL:g}"
        for stem in sorted({stem for stem, _ in self.worst}):
            with np.load(folder / f"{stem}.npz", allow_pickle=False) as file:
                count = len(list(results(file.files)))
            errors = {key: error for (other, key), error in self.worst.items() if other == stem}
            compared = [key for key in errors if self.seen[stem, key].all()]
            worst = max(errors, key=errors.__getitem__)
            yield f"{stem:<16} {count:>7} {len(compared):>8} {errors[worst]:>7.0e}   {worst}"


REPORT = Report()
