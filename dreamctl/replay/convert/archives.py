"""Arrays in .npz files, of which only those that are asked for are read, and none that would run code."""

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.core.files import names_in

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError)
MAGIC_ARRAYS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Header(NamedTuple):
    """An array without its values: number of rows, shape of one row (of the whole where it is a scalar), dtype."""

    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class Archives:
    """Reads arrays of .npz files; the file that was read last stays in memory.

    Args:
        rows: of files in which only so many first rows count.
    """

    def __init__(self, rows: Mapping[Path, int] | None = None) -> None:
        self._rows = rows or {}
        self._path: Path | None = None
        self._arrays: dict[str, Array] = {}
        self.headers = lru_cache(maxsize=None)(self._headers)

    def array(self, path: Path, name: str) -> Array:
        """One array.

        Raises:
            InputError: it is not there, or cannot be read without running code.
        """
        if path != self._path:
            self._path, self._arrays = path, {}
        if name not in self._arrays:
            if name not in self.headers(path):
                raise InputError(
                    f"{path}: has no key {name!r}, only {', '.join(sorted(self.headers(path)))}; see `dreamctl data convert --help`"
                )
            try:
                with np.load(path, allow_pickle=False) as archive:
                    found = np.asarray(archive[name])
                    self._arrays[name] = found[: self._rows.get(path)] if found.ndim else found
            except DAMAGE as error:
                raise _damaged(path, error) from error
        return self._arrays[name]

    def text(self, path: Path, name: str) -> str | None:
        """A text, None where it is not there."""
        return str(self.array(path, name)) if name in self.headers(path) else None

    def alike(self, files: Sequence[Path], ignoring: Sequence[str] = ()) -> dict[str, Header]:
        """The headers of the first file, once all files have the same keys, dtypes and shapes of a row.

        Raises:
            InputError: they have not.
        """
        first = {name: header for name, header in self.headers(files[0]).items() if name not in ignoring}
        for path in files[1:]:
            found = {name: header for name, header in self.headers(path).items() if name not in ignoring}
            odd = sorted(found.keys() ^ first.keys())
            if odd:
                raise InputError(f"{path}: {odd[0]!r} is in only one of it and {files[0]}; convert them one after the other")
            for name, header in found.items():
                if header[1:] != first[name][1:]:
                    shown = f"{header.dtype} {header.shape}, {first[name].dtype} {first[name].shape}"
                    raise InputError(f"{path}: {name} is {shown} in {files[0]}; convert them one after the other")
        return first

    def _headers(self, path: Path) -> Mapping[str, Header]:
        """The arrays of a file by name, none of them read."""
        try:
            with zipfile.ZipFile(path) as archive:
                found = {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
        except DAMAGE as error:
            raise _damaged(path, error) from error
        short = [name for name, header in found.items() if header.rows < self._rows.get(path, 0)]
        if short:
            raise InputError(
                f"{path}: {short[0]} holds {found[short[0]].rows} rows, the file's name says {self._rows[path]}; copy it again"
            )
        return {name: header._replace(rows=self._rows.get(path, header.rows)) for name, header in found.items()}


def check_columns(path: Path, headers: Mapping[str, Header], names: Iterable[str]) -> None:
    """Refuse columns that no replay holds.

    Args:
        path: the file, for messages.
        headers: of its arrays.
        names: the columns.

    Raises:
        InputError: one is of other values than numbers of up to eight bytes, or has rows of none.
    """
    for name in names:
        _, shape, dtype = headers[name]
        if dtype.kind not in "iufb" or dtype.itemsize > 8 or 0 in shape:
            found = f"has rows of shape {shape}" if 0 in shape else f"is of dtype {dtype}"
            raise InputError(f"{path}: {name} {found}, wanted numbers of at most 8 bytes; leave it out or write it anew")


def npz_files(path: Path) -> list[Path]:
    """The .npz files that a path names: itself, or those of the folder by name.

    Raises:
        InputError: there are none, or they cannot be looked for.
    """
    try:
        path.stat()
        files = [path / name for name in names_in(path) if name.endswith(".npz")] if path.is_dir() else [path]
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); name a folder of .npz files") from error
    if not files or not all(os.path.isfile(file) for file in files):
        raise InputError(f"{path}: holds no .npz files; name the folder that they lie in")
    return files


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(name) as member:
        shape, _, dtype = MAGIC_ARRAYS[np.lib.format.read_magic(member)](member)  # type: ignore[no-untyped-call]
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    return Header(shape[0] if shape else 1, tuple(shape[1:]), dtype)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not a readable .npz file ({str(error).splitlines()[0][:160] if str(error) else type(error).__name__}); copy it again"
    )
