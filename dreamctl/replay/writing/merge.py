"""Many shards -> one sealed file: their episodes joined and one after another."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dreamctl.core.experience import Array
from dreamctl.replay.folder import finish_removing, parts_folder, places, remove_parts
from dreamctl.replay.format import Field, parted
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.shards.facts import policy_of, read_facts
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.shards.sealed import write_sealed
from dreamctl.replay.shards.sealing import PIECE
from dreamctl.replay.shards.shard import read_columns
from dreamctl.replay.streams.episodes import EpisodeInfo


def merge(folder: Path, target: Path, origin: Origin) -> None:
    """Write one sealed file with the rows of all shards of a folder over `target`.

    Args:
        folder: the parts.
        target: the file.
        origin: who writes it; the seed is that of the first part, as the stream is, policies that differ are listed.

    Raises:
        OutputError: it cannot be written; the parts are untouched.
        InputError: a part cannot be read.
    """
    replay = open_replay([folder])
    header = read_header(replay.files[0].path)
    facts = [read_facts(record.path) for record in replay.files]
    infos = [info for number, stream in enumerate(replay.streams) for info in stream.episodes(number)]
    table = _table(infos)
    # Whoever closes the file need not have written all of it.
    origin = dataclasses.replace(origin, seed=facts[0].seed, policy=policy_of(facts))
    attributes = origin.attributes(header.fields, stream=header.stream, seq=0, first_row=0)
    attributes["parts_sha256"] = replay.content_hash()

    def pieces(field: Field) -> Iterator[Array]:
        if field.per_episode:
            yield table[field.name]
        else:
            yield from _column(replay, field)

    write_sealed(target, attributes, header.fields, (replay.rows, len(infos)), pieces)


def drop_merged_parts(path: Path) -> None:
    """Remove parts that are in the file already: what a kill between writing the file and removing its parts leaves."""
    folder = parts_folder(path)
    if places(path) == [path, folder] and read_header(path).parts_sha256 == open_replay([folder]).content_hash():
        remove_parts(folder)
    finish_removing(folder)


def _table(infos: Sequence[EpisodeInfo]) -> dict[str, Array]:
    """The episode table of the one file: joined, so every segment is 0, and numbered anew."""
    lengths = np.array([info.length for info in infos])
    table: dict[str, Array] = {"start": np.cumsum(lengths) - lengths, "length": lengths, "id": np.arange(len(infos))}
    table["return"] = np.array([info.episode_return for info in infos])
    table["segment"] = np.zeros(len(infos), np.int64)
    return table | {name: np.array([getattr(info, name) for info in infos]) for name in ("seed", "terminated", "truncated", "complete")}


def _column(replay: Replay, field: Field) -> Iterator[Array]:
    """The pieces of a step column: stream by stream, those that streams do not know shard by shard."""
    if field.role in ("extra", "truth", "truth_valid"):
        for record in replay.files:
            yield read_columns(record.path, [field.name], 0, record.rows)[field.name]
        return
    rows = max(1, PIECE // max(1, field.row_bytes))
    for stream in replay.streams:
        for first in range(0, len(stream), rows):
            if field.role == "action":
                yield parted(stream.column("action", first, min(rows, len(stream) - first)))[field.name]
            else:
                yield stream.column(field.name, first, min(rows, len(stream) - first))
