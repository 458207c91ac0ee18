"""Episodes that are held out from what is learned from: streams of their own, whose big columns stay where they are."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dreamctl.core.experience import TaskSpec
from dreamctl.replay.streams.columns import Column, Part
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.stream import Origin, Stream, big_columns, row_dtype

Piece = tuple[Stream, EpisodeInfo]


def held_out(key: str, share: float) -> bool:
    """Whether an episode belongs to the held-out share: a property of its key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64


def hold_out(streams: Sequence[Stream], share: float, spec: TaskSpec) -> tuple[list[Stream], list[Stream]]:
    """The streams without their held-out episodes, and these in one stream, where there are any."""
    kept: list[Stream] = []
    held: list[Piece] = []
    for stream in streams:
        pieces = [(stream, info) for info in stream.episodes(0) if info.length > 1]
        held += [piece for piece in pieces if held_out(piece[1].key, share)]
        rest = [piece for piece in pieces if not held_out(piece[1].key, share)]
        kept += [_gathered(stream.name, len(kept), rest, spec)] if rest else []
    return kept, [_gathered("holdout", 0, held, spec)] if held else []


def _gathered(name: str, index: int, pieces: Sequence[Piece], spec: TaskSpec) -> Stream:
    """A stream of its own made of whole episodes, one after another."""
    infos: list[EpisodeInfo] = []
    rows = [np.empty(0, row_dtype(spec))]
    origins: list[Origin] = []
    start = 0
    for source, info in pieces:
        rows.append(source.rows[info.start : info.start + info.length])
        infos.append(replace(info, stream=index, start=start))
        origins.append(Origin(start, source, source.first_row + info.start, info.length))
        start += info.length
    big = {key: Column(empty.dtype, empty.shape, _parts(key, origins)) for key, empty in big_columns(spec).items()}
    joined = np.concatenate(rows)
    # What is left of an episode whose first rows are gone goes on from nothing here either.
    joined["is_first"][[origin.start for origin in origins[1:]]] = True
    return Stream(name, joined, infos, big=big, origins=origins)


def _parts(name: str, origins: Sequence[Origin]) -> list[Part]:
    """Where the rows of a gathered big column lie; episodes that follow one another are one part."""
    parts: list[Part] = []
    for _, source, row, rows in origins:
        column, first = source.big[name], row - source.first_row
        if parts and parts[-1].source is column and parts[-1].first + parts[-1].rows == first:
            parts[-1] = parts[-1]._replace(rows=parts[-1].rows + rows)
        else:
            parts.append(Part(column, first, rows))
    return parts
