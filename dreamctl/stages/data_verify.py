"""`data verify`: whether replays are whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamctl.replay.figures.verify import Verification, verify
from dreamctl.stages.tables import count, size


@dataclass(frozen=True)
class VerifyResult:
    """What came of looking at every file of replays."""

    paths: Sequence[Path]
    deep: bool
    found: Verification
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        it = self.found
        problems = [{"file": str(problem.path), "problem": problem.what} for problem in it.problems]
        what = {"paths": [str(path) for path in self.paths], "deep": self.deep, "sound": not it.problems, "problems": problems}
        what["abandoned"] = [str(file) for file in it.abandoned]
        return {**what, "files": it.files, "live": it.live, "rows": it.rows, "episodes": it.episodes, "decoded_bytes": it.bytes}

    def summary(self) -> str:
        """One line a problem, and one of what was looked at."""
        it = self.found
        told = [f"FAIL  {problem.path}: {problem.what}" for problem in it.problems]
        told += [f"note  {file}: its writer died; `dreamctl data repair` seals what it wrote" for file in it.abandoned]
        looked = f"{size(it.bytes)} decoded" if self.deep else "layout, episodes and small columns; --deep decodes every byte"
        live = f", {it.live} of them live" if it.live else ""
        what = f"{count(it.files, 'file')}{live}, {count(it.rows, 'row')} of {count(it.episodes, 'episode')}; {looked}"
        return "\n".join([*told, what if it.problems else f"ok    {what}"])


def verify_replays(paths: Sequence[Path], *, deep: bool) -> VerifyResult:
    """Look at every file, and at how they join.

    Raises:
        InputError: a path is not there, or is a folder without shards.
    """
    return VerifyResult(paths, deep, verify(paths, deep=deep))
