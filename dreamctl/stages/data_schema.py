"""`data schema`: the datasets of replays, and how they are stored."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dreamctl.replay.figures.verify import present
from dreamctl.replay.shards.storage import Stored, stored_columns, total
from dreamctl.stages.tables import count, size, table


@dataclass(frozen=True)
class Schema:
    """The datasets of replays, those of all files together."""

    paths: Sequence[Path]
    files: int
    datasets: Sequence[Stored]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        datasets = [{**asdict(stored), "ratio": stored.ratio} for stored in self.datasets]
        return {"paths": [str(path) for path in self.paths], "files": self.files, "datasets": datasets}

    def summary(self) -> str:
        """One table."""
        head = ("dataset", "dtype", "shape", "rows", "stored as", "on disk", "decoded", "ratio")
        rows = [_dataset(stored) for stored in self.datasets]
        total = [sum(stored.bytes for stored in self.datasets), sum(stored.decoded_bytes for stored in self.datasets)]
        ratio = f"{total[1] / max(1, total[0]):.1f}"
        rows.append((f"in {count(self.files, 'file')}", "", "", "", "", size(total[0]), size(total[1]), ratio))
        return table([head, *rows], right={3, 5, 6, 7})


def schema(paths: Sequence[Path]) -> Schema:
    """How the datasets of these replays are stored; those of one path and type are added up over the files, each counted once.

    Raises:
        InputError: one of them is not a replay.
    """
    together: dict[tuple[object, ...], list[Stored]] = {}
    files = list({os.path.realpath(file): file for path in paths for file in present(path)}.values())
    for file in files:
        for stored in stored_columns(file):
            together.setdefault((stored.path, stored.dtype, stored.shape, stored.layout, stored.filters), []).append(stored)
    return Schema(paths, len(files), [total(parts) for parts in together.values()])


def _dataset(stored: Stored) -> tuple[str, ...]:
    how = [stored.layout if stored.chunk_rows is None else f"chunks of {stored.chunk_rows}", *stored.filters]
    shape = "x".join(map(str, stored.shape)) or "-"
    ratio = "-" if stored.ratio is None else f"{stored.ratio:.1f}"
    sizes = (size(stored.bytes), size(stored.decoded_bytes), ratio)
    return (stored.path, stored.dtype, shape, f"{stored.rows:,}", ", ".join(how), *sizes)
