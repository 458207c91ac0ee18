"""Where the batches of `train-wm` and `train-ac` come from: rows that are pinned, drawn one batch ahead, or a replay that grows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError
from dreamctl.core.session import Session
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import Batches, ReplayConfig, WindowSampler
from dreamctl.replay.streams.place import FileRecord
from dreamctl.replay.windows.follow import Following
from dreamctl.replay.windows.prefetch import Prefetch
from dreamctl.stages.compute import Compute
from dreamctl.stages.resume import changed, check_inputs


def open_again(paths: Sequence[Path], before: Checkpoint | None, where: Path) -> Replay:
    """The replay as it is; or, whatever was written to it since, as the run had it that left a checkpoint.

    Args:
        paths: files and folders.
        before: the checkpoint.
        where: that it lies.

    Raises:
        InputError: it cannot be opened, or the rows that the run had are not there any more.
    """
    if before is None:
        return open_replay(paths)
    records = before.state.get("snapshot")
    if records is None:
        replay = open_replay(paths)
        check_inputs(before, where, {"replay": replay.content_hash()})
        return replay
    try:
        return open_replay(paths, [FileRecord(Path(path), rows, content) for path, rows, content in records])
    except InputError as error:
        raise changed("replay", where, str(error)) from error


def snapshot(replay: Replay) -> list[list[object]]:
    """What a checkpoint records of the rows, for `open_again`."""
    return [[str(path), rows, content] for path, rows, content in replay.snapshot()]


@contextmanager
def drawn(
    replay: Replay, config: ReplayConfig, session: Session, compute: Compute, *, share: float = 0.0, before: Checkpoint | None = None
) -> Iterator[Batches]:
    """Batches, for as long as the context lasts.

    Args:
        replay: all rows; those of held-out episodes are not drawn.
        config: how they are drawn.
        session: the seed, and whether the replay is followed.
        compute: gives the memory that batches are made in.
        share: of the episodes that are held out.
        before: what an interrupted run left, which remembers what was behind it.

    Raises:
        InputError: there is no window to draw.
    """
    replay.cache(config.cache_bytes)
    behind = None if before is None else before.state.get("behind")
    if session.follow:
        following = Following(replay, config, session.seed, share=share)
        following.go_on(behind)
        yield following
    else:
        sampler = WindowSampler(replay.split(share)[0], config, session.seed)
        sampler.check()
        skipped, rows = sampler.skipped
        if skipped:
            what = f"{config.windows.what}{'s' if skipped > 1 else ''} with {rows} rows"
            session.progress.note(f"{replay.name}: {skipped} {what} never drawn, shorter than a window of {config.window}")
        sampler.go_on(behind)
        with Prefetch(sampler, allocate=compute.allocate) as ahead:
            yield ahead
