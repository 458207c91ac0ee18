"""Deflate at the speed of the disk: ISA-L encodes, libdeflate decodes; zlib does both where they are not installed."""

import zlib
from collections.abc import Callable
from typing import TypeAlias

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


_compress, _decompress = _compressor(), _decompressor()


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
