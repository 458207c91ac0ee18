"""Live shards without a writer: what a process that died leaves."""

from collections.abc import Iterable
from pathlib import Path

from dreamctl.core.experience import Row
from dreamctl.replay.format import Field, episode_fields, step_fields
from dreamctl.replay.shards.live import NO_EPISODE, LiveShard, OpenEpisode
from dreamctl.replay.shards.origin import Origin
from tests.replay.rows import SPEC

FIELDS: list[Field] = [*step_fields(SPEC), *episode_fields("env")]
STREAM = "0123abcd-e0"


def live_shard(
    folder: Path,
    rows: Iterable[Row],
    *,
    seq: int = 0,
    first_row: int = 0,
    capacity: tuple[int, int] = (100, 100),
    before: OpenEpisode = NO_EPISODE,
    durable: int | None = None,
) -> LiveShard:
    """A shard of these rows, closed; `durable` is after how many of them the disk was asked to keep what it has."""
    folder.mkdir(exist_ok=True)
    attributes = Origin(SPEC).attributes(FIELDS, stream=STREAM, seq=seq, first_row=first_row)
    shard = LiveShard(folder / f"{STREAM}-{seq:06d}.h5", attributes, FIELDS, capacity, before)
    for number, row in enumerate(rows):
        if number == durable:
            shard.sync()
        shard.append(row)
    shard.close()
    return shard
