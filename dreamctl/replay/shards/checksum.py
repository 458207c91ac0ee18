"""The checksum that HDF5 puts behind a chunk."""

import numpy as np

Bytes = bytes | bytearray | memoryview
PIECE = 1 << 16  # words that are summed at once: the wider numbers of the sums take little room


def fletcher32(data: Bytes) -> int:
    """Two sums over big-endian 16-bit words w_1 ... w_n, modulo 65535; a last odd byte is a word with a zero behind it.

    a = Σ w_i,   b = Σ (n + 1 - i) w_i,   b · 65536 + a;   a sum that is not 0 but a multiple of 65535 is written as 65535
    """
    whole = len(data) & ~1
    words = np.frombuffer(memoryview(data)[:whole], ">u2")
    a = b = 0
    for start in range(0, len(words), PIECE):
        piece = words[start : start + PIECE].astype(np.int64)
        b += len(piece) * a + int(piece @ np.arange(len(piece), 0, -1))
        a += int(piece.sum())
    if whole < len(data):
        a += data[-1] << 8
        b += a
    a, b = (total % 65535 or (65535 if total else 0) for total in (a, b))
    return b << 16 | a
