"""The side file of stored latents: one HDF5 file beside each folder or file of a replay, for one architecture and task.

    <folder>/.latents-<key>   or beside NAME.h5   .NAME.h5.latents-<key>

    /<stream>/h         <f2   (N, D)    row n is row first_row + n of the stream
    /<stream>/z         <f2   (N, Z)
    /<stream>/updates   <i8   (N,)      updates of the world model when the row was written, -1 where it never was
    /<stream>/reward, is_first   (N,)   as the row has them: enough to tell two streams of one name apart
    attribute of /<stream>: first_row

It may be deleted at any time: what it held is learned anew. No command looks for shards in it, its name is hidden. Two trainings of one
architecture from one folder share it, and each reads what the other wrote by an update that it has itself behind it: give them a copy each.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from dreamctl.core.errors import OutputError
from dreamctl.core.files import unwritable, write_whole
from dreamctl.replay.format import LIBVER
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.latents import NEVER, Column, LatentStore

FORMAT, VERSION = "dreamctl-latents", "2.0"
TOLD_BY = "reward", "is_first"
Note = Callable[[str], object]


class SideFiles:
    """The side files of a replay's streams, read once and written with every checkpoint.

    Args:
        store: what they hold.
        key: names the architecture and the task.
        note: told once of a file that is of no use, and once that none can be written; neither ends the training.
    """

    def __init__(self, store: LatentStore, key: str, note: Note) -> None:
        self.store, self.key, self._note = store, key, note
        self._writable = True

    def path(self, place: Path) -> Path:
        """Where the side file of a folder or file lies."""
        return place.with_name(f".{place.name}.latents-{self.key}") if place.is_file() else place / f".latents-{self.key}"

    def read(self, streams: Sequence[Stream], updates: int) -> None:
        """Take what is stored for these streams, except rows that were written by updates later than `updates`."""
        for place in _places(streams):
            path = self.path(place)
            if not path.is_file():
                continue
            try:
                with h5py.File(path, "r") as file:
                    if file.attrs.get("format") != FORMAT:
                        raise ValueError("it holds something else")
                    if file.attrs.get("version") != VERSION:
                        raise ValueError(f"it is of version {file.attrs.get('version')}, wanted {VERSION}")
                    found = {stream: self._column(file, stream, updates) for stream in streams if stream.place == place}
            except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
                self._note(f"{path}: cannot be used ({str(error).splitlines()[0]}); stored latents begin anew")
                continue
            for stream, column in found.items():
                if column is not None:
                    kept = self.store.column(stream, len(column))
                    kept.h[: len(column)], kept.z[: len(column)], kept.updates[: len(column)] = column.h, column.z, column.updates

    def write(self) -> None:
        """Write everything that is known, one whole file for each folder or file; where that fails, training goes on in memory."""
        columns = self.store.columns
        try:
            for place in _places(list(columns)) if self._writable else []:
                _write(self.path(place), {stream: column for stream, column in columns.items() if stream.place == place})
        except OutputError as error:
            self._writable = False
            # Without the error's own mend, which is for results that cannot be done without.
            self._note(f"{str(error).partition(';')[0]}; stored latents stay in memory, and --resume will begin without them")

    def _column(self, file: h5py.File, stream: Stream, updates: int) -> Column | None:
        """The states of a stream in a file, None where it holds none of these very rows."""
        if stream.name not in file:
            return None
        group, (d, z) = file[stream.name], self.store.widths
        if group["h"].shape[1:] != (d,) or group["z"].shape[1:] != (z,):
            raise ValueError("it is of another shape")
        # Its oldest rows may have left the stream since.
        first = stream.first_row - int(group.attrs["first_row"])
        rows = min(len(stream), len(group["updates"]) - first)
        if first < 0 or rows < 1 or any((group[name][first : first + rows] != stream.columns[name][:rows]).any() for name in TOLD_BY):
            return None
        found = [np.asarray(group[name][first : first + rows]) for name in ("h", "z", "updates")]
        column = Column(found[0], found[1], found[2], stream.first_row)
        if not (len(column.h) == len(column.z) == rows and np.isfinite(column.h).all() and np.isfinite(column.z).all()):
            raise ValueError("it is damaged")
        column.updates[column.updates > updates] = NEVER
        return column


def _places(streams: Sequence[Stream]) -> list[Path]:
    return list(dict.fromkeys(stream.place for stream in streams if stream.place is not None))


def _write(path: Path, columns: dict[Stream, Column]) -> None:
    image = io.BytesIO()
    try:
        # In memory, as shards are: HDF5 that runs into a full disk may take the process with it.
        with h5py.File(image, "w", libver=LIBVER) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            for stream, column in columns.items():
                group, used = file.create_group(stream.name), column.used
                told = {name: stream.columns[name] for name in TOLD_BY}
                for name, data in {"h": column.h, "z": column.z, "updates": column.updates, **told}.items():
                    # Checksums come with chunks, and chunks with rows.
                    group.create_dataset(name, data=data[:used], fletcher32=bool(used) or None)
                group.attrs["first_row"] = stream.first_row
    except OSError as error:
        raise unwritable(path, error) from error
    write_whole(path, lambda file: file.write(image.getbuffer()))
