"""Taking up interrupted training: where unfinished checkpoints lie, and what must be as it was."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError
from dreamctl.core.session import Session
from dreamctl.stages.compute import is_there
from dreamctl.stages.experiment import Resolved, check_same_section, gone_on, recorded
from dreamctl.stages.output import check_file


class CheckpointFile:
    """The checkpoint that a training stage writes.

    A new one is written in place as training goes. One that replaces an older file grows in NAME.partial beside it and takes its name
    only when it is complete, so that the older one may be an input of the same command. Where it `replaces` one, the state before the
    first update is to be saved too: a kill soon after must not leave the older file to be taken for this run's.

    Args:
        out: its final path.
        session: whether to resume or to overwrite.

    Raises:
        UsageError: it exists and the session does not say what to do.
    """

    def __init__(self, out: Path, session: Session) -> None:
        self.check(out, session)
        self.out, self._partial = out, out.with_name(f"{out.name}.partial")
        if session.existing != "resume":
            self._partial.unlink(missing_ok=True)
        self.replaces = session.existing == "overwrite" and out.exists()
        self.growing = self._partial if self.replaces or self._partial.exists() else out

    @staticmethod
    def check(out: Path, session: Session) -> None:
        """Refuse an output that exists, unless the session says what to do."""
        check_file(out, session)

    def unfinished(self, kind: str, session: Session) -> Checkpoint | None:
        """What an interrupted run of the same command left, when the session resumes.

        Raises:
            InputError: the file is of another kind.
        """
        if session.existing != "resume" or not self.growing.exists():
            return None
        checkpoint = Checkpoint.load(self.growing)
        if checkpoint.kind != kind or "done" not in checkpoint.state:
            raise InputError(f"{self.growing}: was not written by this command; give its own output, or another --out")
        return checkpoint

    def start(self, before: Checkpoint | None, init: Path | None) -> tuple[Checkpoint | None, Path]:
        """The checkpoint to begin from and its path: what was interrupted, otherwise `--init`, otherwise None."""
        if before is not None:
            return before, self.growing
        return (None, self.out) if init is None else (Checkpoint.load(init), init)

    def save(self, checkpoint: Checkpoint, *, complete: bool) -> Path:
        """Write the state so far; returns where it is."""
        checkpoint.save(self.out if complete else self.growing)
        if complete:
            self._partial.unlink(missing_ok=True)
        return self.out


def take_up(
    before: Checkpoint, path: Path, given: Resolved, session: Session, sections: Sequence[str], inputs: Mapping[str, str]
) -> tuple[Resolved, Session]:
    """The experiment and the seed that the interrupted run had; budgets may be given anew.

    Args:
        before: what it left.
        path: where that is.
        given: the experiment as asked for now.
        session: how it is run now.
        sections: of the experiment that must be as they were.
        inputs: name -> content hash, which must be as they were.

    Raises:
        UsageError: an option contradicts what was recorded.
        InputError: an input has changed.
    """
    kept = recorded(before.config, path)
    for section in sections:
        check_same_section(section, given, kept, str(path))
    check_inputs(before, path, inputs)
    return gone_on(before.config, given, ("train_wm", "train_ac")), as_before(session, before)


def check_inputs(before: Checkpoint, path: Path, inputs: Mapping[str, str]) -> None:
    """See that inputs are those that the run had which left a checkpoint.

    Raises:
        InputError: one has changed.
    """
    for name, content in inputs.items():
        if before.state["inputs"].get(name) != content:
            raise changed(name, path)


def changed(name: str, path: Path, how: str = "") -> InputError:
    """What to raise when an input of the run that left a checkpoint is not what it was."""
    found = f" ({how.partition(';')[0]})" if how else ""
    return InputError(f"{path}: its {name} has changed since it was interrupted{found}; start anew with --init {path} and another --out")


def as_before(session: Session, before: Checkpoint) -> Session:
    """The session with the seed, and unless it says otherwise the device, precision and threads, that an interrupted run had."""
    was = before.provenance
    device = was["device"] if session.device == "auto" and is_there(was["device"]) else session.device
    precision = was["precision"] if session.precision == "auto" else session.precision
    return replace(session, seed=before.state["seed"], device=device, precision=precision, threads=session.threads or was["threads"])
