"""Figures of a run over time: JSON lines that survive a kill, and TensorBoard events where asked for."""

import json
import math
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.files import write_text

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


def metrics_path(out: Path) -> Path:
    """Where the metrics of a single stage lie: `<out>.metrics.jsonl`."""
    return out.with_name(f"{out.name}.metrics.jsonl")


class Metrics:
    """Writes one JSON object a line: `updates`, `wall_s` (seconds of this run, interrupted stretches added up) and figures.

    Args:
        path: the file; None writes none.
        tensorboard: a folder for event files.
        resume_at: updates of the checkpoint that is resumed: later lines are dropped, the run goes on from there. 0 starts anew.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path | None, tensorboard: Path | None = None, *, resume_at: int = 0) -> None:
        self.path = path
        kept = _lines_until(path, resume_at) if path is not None and resume_at else []
        self._before = float(kept[-1].get("wall_s") or 0) if kept else 0.0
        self._began = time.monotonic()
        self._events = None if tensorboard is None else _events(tensorboard, resume_at)
        self._file: TextIO | None = None
        if path is not None:
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
            self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, *, updates: int, **figures: float) -> None:
        """One line; a figure that is not finite becomes null.

        Raises:
            OutputError: the disk is full.
        """
        figures = {"wall_s": round(self._before + time.monotonic() - self._began, 3), **figures}
        if self._events is not None:
            _add(self._events, updates, figures)
        if self._file is None:
            return
        line = {"updates": updates, **{name: value if math.isfinite(value) else None for name, value in figures.items()}}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write ({error.strerror}); free some space and go on with --resume") from error

    def close(self) -> None:
        """Close the files; harmless when done twice."""
        if self._file is not None:
            # Lines are flushed as they are written: what is left is one that failed, and was told.
            with suppress(OSError):
                self._file.close()
            self._file = None
        if self._events is not None:
            self._events.close()
            self._events = None


def _lines_until(path: Path, updates: int) -> list[dict[str, float]]:
    """The lines up to an update; a last line that was cut by a kill is dropped."""
    kept = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if line.get("updates", 0) <= updates:
            kept.append(line)
    return kept


def _events(folder: Path, resume_at: int) -> "EventFileWriter":
    """TensorBoard's own writer, without torch; events after the resumed update are marked as void."""
    if find_spec("tensorboard") is None:
        raise UsageError("--tensorboard: needs the extra `tensorboard` (pip install 'dreamctl[tensorboard]'); or leave it out")
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = EventFileWriter(str(folder))
    except OSError as error:
        raise OutputError(f"{folder}: cannot write ({error.strerror}); choose another --tensorboard") from error
    if resume_at:
        log = SessionLog(status=SessionLog.SessionStatus.START)
        writer.add_event(Event(wall_time=time.time(), step=resume_at + 1, session_log=log))
    return writer


def _add(writer: "EventFileWriter", updates: int, figures: dict[str, float]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
    writer.add_event(Event(wall_time=time.time(), step=updates, summary=Summary(value=values)))
