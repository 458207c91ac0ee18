"""Both codecs speak zlib's format, and the fast ones are not needed."""

import importlib
import sys
import zlib
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from dreamctl.replay.shards import deflating

DATA = np.random.default_rng(0).integers(0, 4, 100_000, np.uint8)


@pytest.fixture(params=["fast", "zlib"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
        monkeypatch.setitem(sys.modules, "deflate", None)
        importlib.reload(deflating)
        assert deflating._decompress is deflating._inflate
    else:
        pytest.importorskip("isal")
        pytest.importorskip("deflate")
        assert deflating._decompress is not deflating._inflate
    yield deflating
    monkeypatch.undo()
    importlib.reload(deflating)


def test_what_is_compressed_is_a_smaller_zlib_stream(codec: ModuleType) -> None:
    encoded = codec.compress(DATA.data)
    assert zlib.decompress(encoded) == DATA.tobytes()
    assert len(encoded) < len(DATA) / 2
    assert bytes(codec.decompress(encoded, len(DATA))) == DATA.tobytes()
    assert bytes(codec.decompress(zlib.compress(DATA.tobytes(), 9), len(DATA))) == DATA.tobytes()


def test_an_array_is_filled_with_what_was_compressed(codec: ModuleType) -> None:
    encoded = codec.compress(DATA.data)
    whole, strided = np.empty((2, len(DATA)), np.uint8), np.empty((len(DATA), 2), np.uint8)
    for out in (whole[0], strided[:, 0], np.empty((100, len(DATA) // 400), "<f4")):
        codec.decompress_into(encoded, out)
        assert out.tobytes() == DATA.tobytes()
    codec.decompress_into(encoded, whole[1])
    assert (whole == DATA).all()


def test_memory_behind_an_array_that_is_filled_stays_as_it_was(codec: ModuleType) -> None:
    memory = np.full(len(DATA), 9, np.uint8)
    for data in (codec.compress(DATA.data), codec.compress(DATA[:49].data), b"", b"x", codec.compress(DATA.data)[:-9]):
        with pytest.raises(ValueError, match=r"(49|50) bytes deflated"):
            codec.decompress_into(data, memory[:50])
    assert (memory[50:] == 9).all()
    read_only = memory[:50]
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        codec.decompress_into(codec.compress(DATA[:50].data), read_only)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 1])
def test_another_size_than_promised_is_refused(codec: ModuleType, size: int) -> None:
    with pytest.raises(ValueError, match="bytes deflated"):
        codec.decompress(codec.compress(DATA.data), size)


def test_damage_is_refused(codec: ModuleType) -> None:
    encoded = bytearray(codec.compress(DATA.data))
    encoded[len(encoded) // 2] ^= 1
    for broken in (bytes(encoded), bytes(encoded[:-20]), b"", b"not deflated at all"):
        with pytest.raises(ValueError, match="bytes deflated"):
            codec.decompress(broken, len(DATA))
