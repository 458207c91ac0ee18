"""Changes to replays that move whole shards: gathered by hard links, the oldest ones removed. A shard that is live is never touched."""

import errno
import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dreamctl.core.errors import InputError
from dreamctl.core.files import sync_folder, unwritable
from dreamctl.core.spaces import spec_difference
from dreamctl.replay.folder import shard_files
from dreamctl.replay.format import schema_difference
from dreamctl.replay.shards.facts import read_facts
from dreamctl.replay.shards.header import Header, read_header
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.writing.gone import Gone

NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


@dataclass(frozen=True)
class Gathered:
    """How shards came into a folder.

    Attributes:
        linked: as another name of the same file.
        copied: where the file system gives no links.
        doubled: left out, because the same piece of the same stream is there already.
    """

    linked: int
    copied: int
    doubled: int


class ShardAge(NamedTuple):
    """A shard as `oldest` weighs it; steps are actions taken in the environment."""

    path: Path
    stream: str
    seq: int
    created: int
    rows: int
    steps: int
    bytes: int
    live: bool


def gather(sources: Sequence[Path], folder: Path) -> Gathered:
    """Bring the sealed shards of files and folders into an empty folder under the names of their streams.

    Raises:
        InputError: a shard is live, is of another task or schema than the first, or is another piece under the same name.
        OutputError: the folder cannot be written.
    """
    chosen = _chosen(sources)
    copied = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (path, _) in chosen.items():
            copied += _link(path, folder / name)
        sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    given = sum(len(shard_files(source)) for source in sources)
    return Gathered(len(chosen) - copied, copied, given - len(chosen))


def oldest(folder: Path, keep_steps: int) -> tuple[list[ShardAge], list[ShardAge]]:
    """The oldest sealed shards that are not needed to keep so many steps, and the other ones.

    Of a stream the first shards go first, so that none is missing in between; age is when a shard was begun.
    """
    ages = [_age(path) for path in shard_files(folder)]
    left = sum(age.steps for age in ages)
    gone: list[ShardAge] = []
    for age in _by_age(ages):
        if left - age.steps < keep_steps:
            break
        gone.append(age)
        left -= age.steps
    return gone, [age for age in ages if age not in gone]


def remove_shards(folder: Path, shards: Sequence[ShardAge]) -> None:
    """Remove shards, in this order, so that whatever ends it, what is left is a replay; the folder keeps count of what has left it.

    Raises:
        OutputError: a file cannot be removed.
        InputError: the count is damaged.
    """
    gone = Gone.of(folder)
    for shard in shards:
        gone.more(shard.path, shard.rows, shard.steps)
    if shards:
        gone.settle()


def _chosen(sources: Sequence[Path]) -> dict[str, tuple[Path, Header]]:
    """The shards to take by the name they get; each piece of a stream once."""
    chosen: dict[str, tuple[Path, Header]] = {}
    first: tuple[Path, Header] | None = None
    for source, path in [(replay, path) for replay in sources for path in shard_files(replay)]:
        header = read_header(path)
        if header.state != "sealed":
            mend = f"wait until its collector has ended, or after a crash `dreamctl data repair {path.parent}`"
            raise InputError(f"{path}: is still being written; {mend}")
        first = first or (path, header)
        _check_alike(source, path, header, *first)
        name = f"{header.stream}-{header.seq:06d}.h5"
        there = chosen.setdefault(name, (path, header))
        if there[1].sealed_sha256 != header.sealed_sha256:
            # Collectors of one task and seed call their streams alike in folders of their own, and so do imports that differ in late
            # observations only. Who knows that one is no older copy of the other has all of them written anew as one stream.
            anew = shlex.join(["dreamctl", "data", "filter", *map(str, sources), "-o", "NEW", "--min-length", "1"])
            mend = f"leave out an older copy, or write the whole episodes of all anew with `{anew}`"
            raise InputError(f"{path}: is another piece {header.seq} of stream {header.stream} than {there[0]}; {mend}")
    return chosen


def _check_alike(source: Path, path: Path, header: Header, first_path: Path, first: Header) -> None:
    difference = spec_difference(header.spec, first.spec) or schema_difference(header.fields, first.fields)
    mend = "merge only what has the same columns"
    if header.kind != first.kind:
        difference, mend = f"kind is {header.kind!r}, wanted {first.kind!r}", "real episodes and dreams stay apart"
    elif difference and difference.startswith("/steps/reward ") and ";" not in difference:
        wanted = next(field.dtype[1:] for field in first.fields if field.path == "/steps/reward")
        mend = f"merge what `dreamctl data convert {source} -o NEW --reward-dtype {wanted}` writes instead"
    if difference:
        raise InputError(f"{path}: cannot go with {first_path}: {difference}; {mend}")


def _link(path: Path, target: Path) -> bool:
    """Give a file a second name, or copy it where that cannot be; whether it was copied."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("rb") as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return True
    return False


def _age(path: Path) -> ShardAge:
    shard, created = read_shard(path), read_facts(path).created
    steps = shard.rows - int(shard.steps["is_first"].sum())
    return ShardAge(path, shard.header.stream, shard.header.seq, created, shard.rows, steps, path.stat().st_size, shard.state != "sealed")


def _by_age(ages: Sequence[ShardAge]) -> Iterator[ShardAge]:
    """Sealed shards, the oldest first; of each stream those before its first live one, in order."""
    queues: dict[str, list[ShardAge]] = defaultdict(list)
    for age in sorted(ages, key=lambda age: (age.stream, age.seq)):
        queues[age.stream].append(age)
    while heads := [queue[0] for queue in queues.values() if queue and not queue[0].live]:
        head = min(heads, key=lambda age: (age.created, age.stream))
        queues[head.stream].pop(0)
        yield head
