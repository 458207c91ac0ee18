"""Two replays side by side: what their headers and schemas say differently, and which episodes only one of them holds."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.experience import Array
from dreamctl.core.spaces import spec_difference
from dreamctl.replay.format import parted
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.shards.facts import alike, read_facts
from dreamctl.replay.shards.shard import read_columns
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.summary import KeySummary

PIECE = 1024  # rows that are hashed at once


@dataclass(frozen=True)
class Difference:
    """One thing that two replays say differently, in words."""

    what: str
    left: str
    right: str


@dataclass(frozen=True)
class Comparison:
    """How two replays differ.

    Attributes:
        task: in what the tasks differ, in words; None where the same networks fit both.
        columns: that are only in one of them, or of another type or shape.
        origin: seed, policy and versions that were recorded differently: that makes no other content.
        both: episodes that are in both, as often as they are.
        left, right: episodes that are in one of them only; None where too few columns are alike to tell.
    """

    task: str | None
    columns: tuple[Difference, ...]
    origin: tuple[Difference, ...]
    both: int
    left: tuple[EpisodeInfo, ...] | None
    right: tuple[EpisodeInfo, ...] | None

    @property
    def equal(self) -> bool:
        """Whether both hold the same episodes of the same task in the same columns, in whatever order and files."""
        return not (self.task or self.columns or self.left or self.right)


def compare(left: Path, right: Path) -> Comparison:
    """Two replays, each a folder or a file; episodes are compared by every byte of their rows, dreams by their context too.

    Raises:
        InputError: one of them cannot be read.
    """
    a, b = open_replay([left]), open_replay([right])
    keys, columns = _columns(a.summary.keys, b.summary.keys)
    task = spec_difference(a.spec, b.spec)
    if a.kind != b.kind:
        columns = [Difference("kind", a.kind, b.kind), *columns]
    needed = {key.name for key in a.summary.keys if key.name.partition("/")[0] in ("observation", "action")}
    if not needed <= {key.name for key in keys}:
        return Comparison(task, tuple(columns), tuple(_origins(a, b)), 0, None, None)
    of_a, of_b = _by_content(a, keys), _by_content(b, keys)
    both = Counter(content for content, _ in of_a) & Counter(content for content, _ in of_b)
    alone = (tuple(_without(both, of_a)), tuple(_without(both, of_b)))
    return Comparison(task, tuple(columns), tuple(_origins(a, b)), both.total(), *alone)


def _columns(left: Sequence[KeySummary], right: Sequence[KeySummary]) -> tuple[list[KeySummary], list[Difference]]:
    """The columns that are alike, and in what the others differ."""
    a, b = ({key.name: key for key in keys} for keys in (left, right))
    names = [*a, *(name for name in b if name not in a)]
    differ = [Difference(name, _shown(a.get(name)), _shown(b.get(name))) for name in names if a.get(name) != b.get(name)]
    return [key for key in left if b.get(key.name) == key], differ


def _origins(left: Replay, right: Replay) -> Iterator[Difference]:
    a, b = ([read_facts(record.path) for record in replay.files] for replay in (left, right))
    for what, key in (("seed", "seed"), ("policy", "acted"), ("versions", "versions")):
        one, two = (alike([getattr(facts, key) for facts in of]) for of in (a, b))
        if one != two:
            yield Difference(what, ", ".join(map(str, one)), ", ".join(map(str, two)))


def _by_content(replay: Replay, keys: Sequence[KeySummary]) -> list[tuple[bytes, EpisodeInfo]]:
    return [(_content(replay, info, keys), info) for info in replay.episodes()]


def _content(replay: Replay, info: EpisodeInfo, keys: Sequence[KeySummary]) -> bytes:
    """A hash of every byte of an episode's rows, whatever file they lie in, and of how many of them are context."""
    digest = hashlib.sha256(f"{info.context} ".encode())
    names = [key.name for key in keys]
    if any(name.startswith("truth/") for name in names):
        names.append("truth_valid")
    for name in names:
        for piece in _pieces(replay, info, name):
            digest.update(piece.tobytes())
    return digest.digest()


def _pieces(replay: Replay, info: EpisodeInfo, name: str) -> Iterator[Array]:
    """One column of an episode, in order."""
    group, stream = name.partition("/")[0], replay.streams[info.stream]
    if group in ("extra", "truth", "truth_valid"):
        for path, first, rows in info.spans:
            for start in range(first, first + rows, PIECE):
                yield read_columns(path, [name], start, min(PIECE, first + rows - start))[name]
        return
    for start in range(info.start, info.start + info.length, PIECE):
        rows = min(PIECE, info.start + info.length - start)
        yield parted(stream.column("action", start, rows))[name] if group == "action" else stream.column(name, start, rows)


def _without(both: Counter[bytes], found: Sequence[tuple[bytes, EpisodeInfo]]) -> Iterator[EpisodeInfo]:
    """Episodes beyond those that both have."""
    left = both.copy()
    for content, info in found:
        if left[content]:
            left[content] -= 1
        else:
            yield info


def _shown(key: KeySummary | None) -> str:
    return "absent" if key is None else f"{key.dtype} {key.shape}"
