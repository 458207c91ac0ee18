"""Where the batches of `train-wm` and `train-ac` come from: rows that are pinned, drawn one batch ahead, or a replay that grows."""

from collections.abc import Iterator
from contextlib import contextmanager

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.session import Session
from dreamctl.replay.follow import Following
from dreamctl.replay.prefetch import Prefetch
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import Batches, ReplayConfig, WindowSampler
from dreamctl.stages.compute import Compute


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
    behind = None if before is None else before.state.get("behind")
    if session.follow:
        following = Following(replay, config, session.seed, share=share)
        following.go_on(behind)
        yield following
    else:
        sampler = WindowSampler(replay.split(share)[0], config, session.seed)
        sampler.check()
        sampler.go_on(behind)
        with Prefetch(sampler, allocate=compute.allocate) as ahead:
            yield ahead
