"""What all foreign formats share: episodes given one by one as arrays, their dtypes and spaces, rows as the time table has them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from dreamctl.core.errors import EnvironmentFailure, InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.spaces import check_supported
from dreamctl.replay.editing.recording import Recording
from dreamctl.replay.format import Field, step_fields
from dreamctl.replay.shards.origin import Origin

# One line that a person should see: what was inferred, what was left out.
Note = Callable[[str], object]
RewardDtype = Literal["f4", "f8"]


def by_episode(
    origin: Origin,
    fields: Sequence[Field],
    table: dict[str, Array],
    read: Callable[[int, str], Array],
    place: Callable[[int], str],
    *,
    reward_dtype: RewardDtype | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Recording:
    """A recording of episodes that are read one by one.

    Args:
        origin: of the recording.
        fields: the step datasets.
        table: as in `Recording`; the returns are added here.
        read: number of the episode and name of the column -> its rows (T+1, ...).
        place: how messages call an episode.
        reward_dtype: what rewards are rounded to; None lets none of them lose a digit.
        attributes: of the recording.
    """

    def column(field: Field, first: int, last: int) -> Iterator[Array]:
        for number in range(first, last):
            exact = field.role != "reward" or reward_dtype is None
            yield _stored(read(number, field.name), field, int(table["length"][number]), place(number), exact=exact)

    (reward,) = (field for field in fields if field.role == "reward")
    returns = [float(next(column(reward, number, number + 1)).sum(dtype=np.float64)) for number in range(len(table["length"]))]
    return Recording(origin, fields, {**table, "return": np.array(returns)}, column, attributes or {})


def stored_fields(spec: TaskSpec, found: Mapping[str, np.dtype[np.generic]], reward_dtype: RewardDtype | None = None) -> list[Field]:
    """The step datasets of a task as values of these dtypes need them: doubles are kept as doubles, unless a reward shall be otherwise.

    Args:
        spec: the task.
        found: dtype of each column by its name below /steps.
        reward_dtype: how rewards are stored; None as they are found.
    """
    fields = []
    for field in step_fields(spec):
        dtype = found.get(field.name)
        if field.role == "reward":
            single = dtype is None or dtype in (np.float32, np.float16)
            double = reward_dtype == "f8" or (reward_dtype is None and not single)
        else:
            double = field.role in ("observation", "action") and field.dtype == "<f4" and dtype == np.float64
        fields.append(replace(field, dtype="<f8") if double else field)
    return fields


def rows_of_steps(column: Array, rows: int, *, end: bool) -> Array:
    """T values of actions (`end`) or of what they led to, as T+1 rows with a zero behind or in front; T+1 rows are left as they are."""
    if len(column) != rows - 1:
        return column
    zero = np.zeros((1, *column.shape[1:]), column.dtype)
    return np.concatenate([column, zero] if end else [zero, column])


def supported(spec: TaskSpec, place: str) -> TaskSpec:
    """The spec, once it is one that is learned from.

    Raises:
        InputError: it is none.
    """
    try:
        check_supported(spec)
    except EnvironmentFailure as error:
        raise InputError(f"{place}: {error}") from error
    return spec


def only_real(recording: Recording, what: str) -> None:
    """Refuse dreams where there is no place for what makes them dreams.

    Raises:
        InputError: it is of dreams.
    """
    if recording.origin.kind == "imagined":
        raise InputError(f"{recording.origin.spec.name}: these are imagined rollouts, {what} hold real episodes only; convert them to h5")


def _stored(column: Array, field: Field, rows: int, place: str, *, exact: bool) -> Array:
    """The column in the dtype that it is stored in, which keeps every value of it where it is to be `exact`.

    Raises:
        InputError: it does not, holds no numbers, or has another shape.
    """
    if column.shape != (rows, *field.shape):
        raise InputError(f"{place}: {field.name} is of shape {column.shape}, wanted {(rows, *field.shape)}")
    if column.dtype.kind not in "iufb":
        raise InputError(f"{place}: {field.name} is of dtype {column.dtype}, wanted numbers; leave it out or write it anew")
    stored = column.astype(field.dtype)
    if exact and stored.dtype != column.dtype and not _equal(stored, column):
        mend = "name --reward-dtype f8, or f4 to round them" if field.role == "reward" else "store it in the space's dtype"
        raise InputError(f"{place}: {field.name} ({column.dtype}) holds values that {field.dtype} cannot keep; {mend}")
    return stored


def _equal(stored: Array, column: Array) -> bool:
    """Whether no value has changed; an integer is compared as one, for as a double it may look equal to its neighbour."""
    if column.dtype.kind == "f":
        return np.array_equal(stored, column, equal_nan=True)
    return np.array_equal(stored, column) and np.array_equal(stored.astype(column.dtype), column)
