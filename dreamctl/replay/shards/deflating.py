"""Deflate at the speed of the disk: ISA-L encodes, libdeflate decodes; zlib does both where they are not installed."""

import ctypes
import zlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from dreamctl.core.experience import Array

Bytes: TypeAlias = "bytes | bytearray | memoryview"


def _compressor() -> Callable[[Bytes], bytes]:
    try:
        from isal import isal_zlib
    except ImportError:
        return lambda data: zlib.compress(data, 1)
    return lambda data: isal_zlib.compress(data, 1)


def _decompressor() -> Callable[[Bytes, int], Bytes]:
    try:
        from deflate import DeflateError, zlib_decompress
    except ImportError:
        return _inflate

    def decode(data: Bytes, size: int) -> Bytes:
        try:
            return bytes(0) if size == 0 else zlib_decompress(data, size)
        except DeflateError as error:
            raise ValueError(f"is not {size} bytes deflated ({error})") from error

    return decode


def _inflate(data: Bytes, size: int) -> bytes:
    """As much as `size` bytes and no more, whatever the stream would grow to."""
    try:
        stream = zlib.decompressobj()
        found = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"is not {size} bytes deflated ({error})") from error
    if len(found) != size or not stream.eof:
        raise ValueError(f"is not {size} bytes deflated")
    return found


class _Libdeflate:
    """The library inside package `deflate`: it inflates into memory that is there, where the package gives new memory each time.

    Raises:
        ImportError, OSError, AttributeError: it is not there, or does not show its functions.
    """

    def __init__(self) -> None:
        from deflate import _deflate

        library = ctypes.CDLL(_deflate.__file__)
        self._new, self._free, self._inflate = (
            getattr(library, f"libdeflate_{name}") for name in ("alloc_decompressor", "free_decompressor", "zlib_decompress")
        )
        self._new.restype, self._new.argtypes = ctypes.c_void_p, []
        self._free.restype, self._free.argtypes = None, [ctypes.c_void_p]
        source, target = (ctypes.c_char_p, ctypes.c_size_t), (ctypes.c_void_p, ctypes.c_size_t)
        self._inflate.restype, self._inflate.argtypes = ctypes.c_int, [ctypes.c_void_p, *source, *target, ctypes.c_void_p]

    def fill(self, data: bytes, out: Array) -> None:
        if not (out.flags.c_contiguous and out.flags.writeable):
            _fill(data, out)
            return
        decompressor = self._new()
        if not decompressor:
            raise MemoryError("no memory to inflate with")
        try:
            # Without a place for the number of bytes, any other number than there is room for is an error.
            failed = self._inflate(decompressor, data, len(data), out.ctypes.data, out.nbytes, None)
        finally:
            self._free(decompressor)
        if failed:
            raise ValueError(f"is not {out.nbytes} bytes deflated")


def _filler() -> Callable[[bytes, Array], None]:
    try:
        return _Libdeflate().fill
    except (ImportError, OSError, AttributeError):
        return _fill


def _fill(data: bytes, out: Array) -> None:
    out[...] = np.ndarray(out.shape, out.dtype, decompress(data, out.nbytes))


_compress, _decompress, _decompress_into = _compressor(), _decompressor(), _filler()


def compress(data: Bytes) -> bytes:
    """A zlib stream of bytes, quickly rather than small."""
    return _compress(data)


def decompress(data: Bytes, size: int) -> Bytes:
    """The `size` bytes that were compressed, as something with the buffer protocol.

    Raises:
        ValueError: the stream is damaged, or holds another number of bytes.
    """
    found = _decompress(data, size)
    if len(found) != size:
        raise ValueError(f"is {len(found)} bytes deflated, wanted {size}")
    return found


def decompress_into(data: bytes, out: Array) -> None:
    """Fill an array with the bytes that were compressed.

    Raises:
        ValueError: the stream is damaged, or holds another number of bytes; what `out` holds then is not said.
    """
    _decompress_into(data, out)
