"""A replay that is written and sampled in one process keeps to its capacity: what goes is the oldest, and is counted."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.errors import InputError, OutputError
from dreamctl.core.experience import Row
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing import gone
from dreamctl.replay.writing.gone import Gone
from dreamctl.replay.writing.retention import Retention
from tests.replay.pictures import SPEC as PICTURES
from tests.replay.pictures import picture_rows
from tests.replay.rows import SPEC, stream_rows

LANES, CAPACITY = 2, 64


def in_step(lengths: Sequence[int], lanes: int = LANES) -> list[Row]:
    """Rows of several lanes, one of each in turn."""
    return [row for rows in zip_longest(*(stream_rows(lengths, lane) for lane in range(lanes))) for row in rows]


def fill(folder: Path, rows: Sequence[Row], replay: Replay, kept: Retention) -> int:
    """Write and add rows, looking after each step; returns the most rows there were after a look."""
    most = 0
    shard_rows = Retention.shard_rows(CAPACITY, LANES)
    with ReplayWriter(folder, SPEC, lanes=LANES, seed=0, append=True, shard_rows=shard_rows) as writer:
        replay.written_by(writer.collector, folder)
        kept.begin(writer)
        for row in rows:
            writer.add(row)
            replay.add(row)
            if row.lane == LANES - 1:
                kept.look(writer)
                most = max(most, replay.rows)
    return most


def begun(folder: Path, capacity: int | None = CAPACITY) -> tuple[Replay, Retention]:
    """What a process begins with that goes on in a folder."""
    gone = Gone.of(folder)
    replay = open_replay([folder]) if any(folder.glob("*.h5")) else Replay.empty(SPEC, LANES)
    return replay, Retention(replay, gone, capacity)


def test_no_more_rows_than_the_capacity_are_kept_in_memory_and_on_disk(tmp_path: Path) -> None:
    replay, kept = begun(tmp_path / "replay")
    rows = in_step([30, 40])
    assert fill(tmp_path / "replay", rows, replay, kept) == CAPACITY
    there = open_replay([tmp_path / "replay"])
    assert replay.rows == there.rows > CAPACITY - 2 * Retention.shard_rows(CAPACITY, LANES) * LANES
    for ours, theirs in zip(replay.streams, there.streams, strict=True):
        assert ours.first_row == theirs.first_row > 0
        assert np.array_equal(ours.rows, theirs.rows)
        # The newest ones.
        assert np.array_equal(ours.columns["reward"], [row.reward for row in rows[ours.name[-1] == "1" :: 2]][-len(ours) :])


def test_steps_that_are_gone_still_count(tmp_path: Path) -> None:
    replay, kept = begun(tmp_path / "replay")
    rows = in_step([7, 50, 3, 10])
    steps = sum(not row.is_first for row in rows)
    fill(tmp_path / "replay", rows, replay, kept)
    assert replay.env_steps < kept.env_steps == steps
    replay, kept = begun(tmp_path / "replay")
    assert kept.env_steps == steps


def test_without_a_capacity_everything_stays(tmp_path: Path) -> None:
    replay, kept = begun(tmp_path / "replay", None)
    assert fill(tmp_path / "replay", in_step([40, 60]), replay, kept) == 200
    assert open_replay([tmp_path / "replay"]).rows == 200
    assert not (tmp_path / "replay" / ".gone.json").exists()
    assert Retention.shard_rows(None, 3) is None


def test_what_goes_depends_on_the_rows_alone(tmp_path: Path) -> None:
    names = []
    for attempt in ("one", "two"):
        replay, kept = begun(tmp_path / attempt)
        fill(tmp_path / attempt, in_step([30, 40]), replay, kept)
        names.append(sorted(path.name for path in (tmp_path / attempt).glob("*.h5")))
    assert names[0] == names[1]


def test_rows_of_writers_before_go_first_the_oldest_writer_before_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    for _ in range(3):
        fill(folder, in_step([8]), *begun(folder))
    collectors = Gone.of(folder).collectors
    assert len(set(collectors)) == 3
    replay, kept = begun(folder)
    left: list[list[str]] = []
    with ReplayWriter(folder, SPEC, lanes=LANES, seed=0, append=True, shard_rows=4) as writer:
        replay.written_by(writer.collector, folder)
        kept.begin(writer)
        for row in in_step([30]):
            writer.add(row)
            replay.add(row)
            kept.look(writer)
            found = [name for name in (*collectors, writer.collector) if any(folder.glob(f"{name}-*.h5"))]
            left += [found] if found not in left else []
    assert left == [[*collectors[gone:], writer.collector] for gone in range(3)]
    assert replay.rows <= CAPACITY
    assert Gone.of(folder).collectors == (*collectors, writer.collector)


def test_a_crash_between_counting_and_removing_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rows = tmp_path / "replay", in_step([30, 40])
    replay, kept = begun(folder)

    def dying(path: Path) -> None:
        raise SystemExit(f"killed before {path.name} was removed")

    with monkeypatch.context() as patch:
        patch.setattr(gone, "_remove", dying)
        with pytest.raises(SystemExit):
            fill(folder, rows, replay, kept)
    written = replay.env_steps
    assert open_replay([folder]).env_steps == written
    replay, kept = begun(folder)
    assert kept.env_steps == written > replay.env_steps, "it was counted once, and is gone now"


def test_a_damaged_count_is_refused(tmp_path: Path) -> None:
    replay, kept = begun(tmp_path)
    fill(tmp_path, in_step([60]), replay, kept)
    (tmp_path / ".gone.json").write_text("{}")
    with pytest.raises(InputError, match=r"\.gone\.json: is damaged .*; bring it back, or start anew"):
        begun(tmp_path)


def test_a_file_that_cannot_be_removed_is_an_error_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def refused(self: Path, **options: bool) -> None:
        if self.suffix == ".h5":
            raise PermissionError(13, "Permission denied")
        unlink(self, **options)

    replay, kept = begun(tmp_path)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(OutputError, match=r"\.h5: cannot write \(Permission denied\)"):
        fill(tmp_path, in_step([60]), replay, kept)


def test_pictures_of_full_shards_leave_memory_and_stay_what_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    replay = Replay.empty(PICTURES, 1)
    kept = Retention(replay, Gone.of(folder), None)
    rows = list(picture_rows([30, 70]))
    with ReplayWriter(folder, PICTURES, lanes=1, seed=0, shard_rows=10) as writer:
        replay.written_by(writer.collector, folder)
        kept.begin(writer)
        for row in rows:
            writer.add(row)
            replay.add(row)
            kept.look(writer)
    (stream,) = replay.streams
    for name, column in stream.big.items():
        assert len(column._state.tail) <= 20, "one full shard may still wait, and one is being filled"
        pictures = np.stack([row.observation[name.removeprefix("observation/")] for row in rows])
        assert np.array_equal(stream.column(name), pictures)
