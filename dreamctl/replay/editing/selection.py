"""Some whole episodes of a replay: which ones, and a recording of them that is read from its files, block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.editing.recording import Recording
from dreamctl.replay.format import Field, schema_difference
from dreamctl.replay.reader import Replay
from dreamctl.replay.shards.attributes import read_attributes
from dreamctl.replay.shards.facts import policy_of, read_facts
from dreamctl.replay.shards.header import Header, opened, read_header, text_attribute
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.shards.shard import read_columns
from dreamctl.replay.streams.episodes import EpisodeInfo, Span
from dreamctl.replay.streams.holdout import held_out

BLOCK_BYTES = 16 << 20
TABLE = ("length", "seed", "terminated", "truncated", "complete")
DREAM_TABLE = ("context", "source_shard", "source_row")


@dataclass(frozen=True)
class Conditions:
    """What an episode must satisfy; None asks nothing. Returns undiscounted, lengths in steps.

    Attributes:
        min_return, max_return, min_length, max_length: both ends included.
        complete: ended by the environment.
        terminated: ended by the task, not by the time limit.
    """

    min_return: float | None = None
    max_return: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    complete: bool = False
    terminated: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is asked."""
        return self == Conditions()

    def hold(self, info: EpisodeInfo) -> bool:
        """Whether an episode satisfies them all."""
        bounds = [(info.episode_return, self.min_return, self.max_return), (info.length - 1, self.min_length, self.max_length)]
        inside = all((low is None or value >= low) and (high is None or value <= high) for value, low, high in bounds)
        return inside and (info.complete or not self.complete) and (info.terminated or not self.terminated)


def whole_episodes(replay: Replay) -> list[EpisodeInfo]:
    """The episodes whose first row is there; lone rows and what is left of an episode whose start was pruned are not."""
    return [info for info in replay.episodes() if replay.streams[info.stream].columns["is_first"][info.start]]


def split_by_share(infos: Sequence[EpisodeInfo], shares: Sequence[float]) -> list[list[EpisodeInfo]]:
    """Episodes by the hash of their keys: the last share is what `held_out` of that share holds out; a rest belongs to none."""
    assert sum(shares) <= 1 + 1e-9, "shares beyond one"
    ends = np.minimum(np.append(0.0, np.cumsum(shares[::-1])), 1.0).tolist()
    parts = [[info for info in infos if held_out(info.key, high) and not held_out(info.key, low)] for low, high in pairwise(ends)]
    return parts[::-1]


def selected(replay: Replay, infos: Sequence[EpisodeInfo], command: Sequence[str] = ()) -> Recording:
    """A recording of some episodes of a replay, in their order.

    Raises:
        InputError: the files of the replay differ in their schema.
    """
    files = sorted({span.path for info in infos for span in info.spans})
    fields = _common_fields(files)
    names = TABLE + (DREAM_TABLE if replay.kind == "imagined" else ())
    table: dict[str, Array] = {name: np.array([getattr(info, name) for info in infos]) for name in names}
    table["return"] = np.array([info.episode_return for info in infos])

    def column(field: Field, first: int, last: int) -> Iterator[Array]:
        spans = [span for info in infos[first:last] for span in info.spans]
        for path, group in groupby(spans, key=attrgetter("path")):
            yield from _rows(path, field, list(group))

    origin = origin_of(files, replay, command)
    return Recording(origin, [field for field in fields if not field.per_episode], table, column, exact_spaces(files[0]))


def origin_of(files: Sequence[Path], replay: Replay | Header, command: Sequence[str]) -> Origin:
    """The origin that these files of one task and kind have in common; policies that differ are listed."""
    facts = [read_facts(path) for path in files]
    return Origin(
        replay.spec,
        replay.kind,
        facts[0].seed,
        policy_of(facts),
        tuple(command),
        root_text(files[0], "gym_spec"),
        facts[0].parent,
    )


def exact_spaces(path: Path) -> dict[str, str]:
    """The spaces of a shard as it states them, but those it leaves out: they may tell more than those that networks are built for."""
    try:
        with opened(path) as file:
            stated = read_attributes(file)
    except (KeyError, TypeError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: has no readable attributes; copy or collect it again, or leave it out") from error
    return {name: str(stated[name]) for name in ("observation_space", "action_space") if name in stated}


def root_text(path: Path, name: str) -> str:
    """A text among the root attributes of a shard.

    Raises:
        InputError: it is not there.
    """
    try:
        with opened(path) as file:
            return text_attribute(file, name)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: has no readable attribute {name}; copy or collect it again, or leave it out") from error


def _common_fields(files: Sequence[Path]) -> Sequence[Field]:
    first = read_header(files[0])
    for path in files[1:]:
        difference = schema_difference(read_header(path).fields, first.fields)
        if difference:
            raise InputError(f"{path}: {difference} as in {files[0]}; take the two one after the other")
    return first.fields


def _rows(path: Path, field: Field, spans: Sequence[Span]) -> Iterator[Array]:
    """The rows of a column in these spans of one file, read in blocks: many short spans cost no more than one long one."""
    low, high = spans[0].first, spans[-1].first + spans[-1].rows
    wanted = np.zeros(high - low, bool)
    for span in spans:
        wanted[span.first - low : span.first - low + span.rows] = True
    block = max(1, BLOCK_BYTES // max(1, field.row_bytes))
    for start in range(low, high, block):
        chosen = wanted[start - low : start - low + block]
        if chosen.any():
            found = read_columns(path, [field.name], start, len(chosen))[field.name]
            yield found if chosen.all() else found[chosen]
