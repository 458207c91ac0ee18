"""Provenance: what an artefact says of its making."""

import hashlib

import pytest

from dreamctl.core.errors import InputError
from dreamctl.core.provenance import file_hash, provenance
from dreamctl.core.session import Session


def test_inputs_are_recorded_by_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    told = provenance(Session(seed=3, command=("dreamctl", "x")), {"device": "cpu"}, {"replay": "12ab", "init": path})
    assert told["inputs"] == {"replay": "12ab", "init": hashlib.sha256(b"abc").hexdigest()}
    assert (told["seed"], told["command"], told["device"]) == (3, ["dreamctl", "x"], "cpu")
    assert {"python", "dreamctl", "numpy"} <= told["versions"].keys()


def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        file_hash(tmp_path / "none")
