"""Where the rows of a big column lie on disk: sources that read them from a shard."""

from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array


def check_finite(path: Path, name: str, first: int, rows: Array) -> None:
    """See that rows that were just read hold numbers.

    Raises:
        InputError: names file, dataset and row of the first one that does not.
    """
    if rows.dtype.kind != "f":
        return
    # One sum tells whether all is well; only then is it worth asking where it is not.
    with np.errstate(all="ignore"):
        if np.isfinite(rows.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(-1)
    if bad.any():
        place = f"{path}: {name} row {first + int(bad.argmax())}"
        raise InputError(f"{place} holds numbers that are not finite; mend the environment and collect again")
