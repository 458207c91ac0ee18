"""Which files that were recorded are whose, when replays are opened again: those that lie where they lay, and those that have moved."""

from collections.abc import Sequence
from itertools import groupby

from dreamctl.core.errors import InputError
from dreamctl.replay.streams.place import FileRecord, Place, gone
from dreamctl.replay.streams.sources import Sources


def share_out(places: Sequence[Place], records: Sequence[FileRecord]) -> list[tuple[Place, list[FileRecord]]]:
    """The records of each place, in the order in which they were recorded, whatever the order of the places is now.

    A place whose files were recorded has these; another one, which has moved, has those of a folder whose files had the names of its own.
    Where there were several such folders it is the one of this content; of those that begin alike, the one of which most was read.

    Raises:
        InputError: it is none of them; or what was recorded is gone.
    """
    there = [set(place.paths) for place in places]
    shares = [(place, [record for record in records if record.path in here]) for place, here in zip(places, there, strict=True)]
    taken = {record for _, share in shares for record in share}
    for place, share in shares:
        if not share:
            share += _moved(place, [record for record in records if record not in taken])
            taken |= set(share)
    for record in records:
        if record.rows and record not in taken:
            raise gone(record)
    return sorted(shares, key=lambda shared: records.index(shared[1][0]) if shared[1] else len(records))


def _moved(place: Place, records: Sequence[FileRecord]) -> list[FileRecord]:
    """Those of the records that are a place's, though they were recorded elsewhere."""
    names = {path.name for path in place.paths}
    by_folder = groupby([record for record in records if record.path.name in names], key=lambda record: record.path.parent)
    options = [list(of_folder) for _, of_folder in by_folder]
    if len(options) < 2:
        return options[0] if options else []
    fitting = [option for option in options if _fits(place, option)]
    if not fitting:
        folders = " or ".join(str(option[0].path.parent) for option in options)
        raise InputError(f"{place.path}: does not hold what was read from {folders} before; bring that back, or start anew")
    return max(fitting, key=lambda option: sum(record.rows for record in option))


def _fits(place: Place, records: Sequence[FileRecord]) -> bool:
    """Whether the rows that were recorded are those that are here."""
    trial = Place(place.path)
    try:
        found = trial.pinned(records)
        spec = found[0].shard.header.spec
        trial.take(found, spec, Sources(spec))
        trial.check_pinned()
    except InputError:
        return False
    return True
