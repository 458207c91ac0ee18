"""`data repair`: what a crash left is sealed; what is damaged is told, and what of it can be read is written to a new file if asked."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.session import Session
from dreamctl.replay.editing.salvage import Salvaged, salvage
from dreamctl.replay.figures.verify import Verification, verify
from dreamctl.replay.folder import parts_folder, shard_paths
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.writing.recovery import Recovered, recover
from dreamctl.stages.output import check_file
from dreamctl.stages.tables import count


@dataclass(frozen=True)
class RepairResult:
    """What was done, and what is still wrong.

    Attributes:
        done: with each file that a crash left.
        found: what came of looking at every file afterwards.
        saved: what was written to the new file; None where none was asked for.
    """

    paths: Sequence[Path]
    done: Sequence[Recovered]
    found: Verification
    saved: Salvaged | None = None
    path: Path | None = None

    @property
    def left(self) -> int:
        """How many problems there are still."""
        return len(self.found.problems)

    def to_json(self) -> dict[str, object]:
        """As one object."""
        done = [{"file": str(it.path), "rows": it.rows, "lost": it.lost, "problem": it.problem} for it in self.done]
        problems = [{"file": str(problem.path), "problem": problem.what} for problem in self.found.problems]
        result = {"paths": [str(path) for path in self.paths], "done": done, "problems": problems, "live": self.found.live}
        if self.saved is None:
            return result
        return {**result, "path": str(self.path), "saved": asdict(self.saved)}

    def summary(self) -> str:
        """One line a file, and one of what is there now."""
        lines = [str(it) for it in self.done]
        lines += [f"FAIL  {problem.path}: {problem.what}" for problem in self.found.problems]
        live = f", {self.found.live} of them live, left to their writer" if self.found.live else ""
        lines.append(f"{count(self.found.files, 'file')}{live}, {count(self.found.rows, 'row')} in those that are whole")
        if self.saved is not None:
            saved = f"{count(self.saved.rows, 'row')} in {count(self.saved.episodes, 'episode')}"
            lines.append(f"{self.path}: {saved} saved, {count(self.saved.lost, 'row')} lost")
        return "\n".join(lines)


def repair(paths: Sequence[Path], target: Path | None, session: Session) -> RepairResult:
    """Seal what a crash left, then look at everything; the readable episodes of all files go to `target` where one is given.

    Raises:
        InputError: a path is not there; or nothing can be saved.
        UsageError: the target exists, or is no .h5.
        OutputError: a file cannot be written.
    """
    if target is not None:
        _check(paths, target, session)
    paths = [_place(path) for path in paths]
    done = [found for folder in _folders(paths) for found in recover(folder)]
    # A folder that held nothing but what a crash left empty is no error of the person who repairs it, nor is a file without a step.
    touched = {place for it in done for place in (it.path, it.path.parent)}
    there = [path for path in paths if path not in touched or os.path.isfile(path) or shard_paths(path)]
    found = verify(there, deep=True) if there else Verification(0, 0, 0, 0, 0, ())
    saved = salvage(there, target, session.command) if target is not None else None
    return RepairResult(paths, done, found, saved, target)


def _check(paths: Sequence[Path], target: Path, session: Session) -> None:
    if target.suffix != ".h5":
        raise UsageError(f"{target}: wanted a file NAME.h5; choose another --salvage")
    # Not Path.resolve, which knows no answer to a link that leads to itself.
    if any(Path(os.path.realpath(target)).is_relative_to(os.path.realpath(path)) for path in paths):
        raise UsageError(f"{target}: lies in what is repaired; choose another --salvage")
    try:
        check_file(target, session, resume=False)
    except (UsageError, OutputError) as error:
        raise type(error)(str(error).replace("another --out", "another --salvage")) from error


def _place(path: Path) -> Path:
    """Where the rows are: the parts of a file that was never finished."""
    parts = parts_folder(path)
    return parts if os.path.isdir(parts) and not os.path.exists(path) else path


def _folders(paths: Sequence[Path]) -> list[Path]:
    """Where a crash may have left something: a folder, or the folder of a live shard."""
    return list(dict.fromkeys(path if os.path.isdir(path) else path.parent for path in paths if os.path.isdir(path) or _is_live(path)))


def _is_live(path: Path) -> bool:
    try:
        return read_header(path).state == "live"
    except InputError:
        return False
