"""`dreamctl data merge`, `split`, `filter` and `prune`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import EXPERIMENT, OUTPUT, How, Replacing, Replays, Shown, argument, option, out_option
from dreamctl.core.errors import UsageError

EPISODES = "Which episodes"
Out = Annotated[Path, out_option("OUT", "A folder, or NAME.h5 for one file.")]
Folder = Annotated[Path, argument("REPLAY", "A replay folder.")]
Parts = Annotated[
    list[str], option(OUTPUT, "A part and its share; one without takes the rest; repeatable.", "--out", "-o", metavar="OUT=SHARE")
]
By = Annotated[str, option(EXPERIMENT, "What is kept whole (episodes).", "--by", metavar="NAME")]
MinReturn = Annotated[float | None, option(EPISODES, "With at least this return.", "--min-return", metavar="R")]
MaxReturn = Annotated[float | None, option(EPISODES, "With at most this return.", "--max-return", metavar="R")]
MinLength = Annotated[int | None, option(EPISODES, "Of at least so many steps.", "--min-length", metavar="N", least=1)]
MaxLength = Annotated[int | None, option(EPISODES, "Of at most so many steps.", "--max-length", metavar="N", least=1)]
Complete = Annotated[bool, option(EPISODES, "Ended by the environment, not cut.", "--complete")]
Terminated = Annotated[bool, option(EPISODES, "Ended by the task, not by its time limit.", "--terminated")]
KeepSteps = Annotated[int, option(EXPERIMENT, "Environment steps that stay, at least.", "--keep-steps", metavar="N", least=1)]
DryRun = Annotated[bool, option(OUTPUT, "Say what would go, remove nothing.", "--dry-run")]


def merge(replays: Replays, out: Out, replacing: Replacing, shown: Shown) -> None:
    """Put replays together by hard links.

    \b
    dreamctl data merge A B -o both       links, no copy
    dreamctl data merge A B -o both.h5    one file of the whole episodes
    """
    from dreamctl.stages.data_edit import merge

    with How().session(replacing.existing) as session:
        result = merge(replays, out, session)
    shown.emit(result)


def split(replays: Replays, out: Parts, replacing: Replacing, shown: Shown, by: By = "episodes") -> None:
    """Split a replay into parts of whole episodes.

    dreamctl data split REPLAY -o train -o test=0.1 gives test a tenth of the episodes, chosen by a hash of each episode's key as
    train_wm.holdout chooses them, and train the others. An episode keeps its side as the replay grows.
    """
    from dreamctl.stages.data_edit import split

    if by != "episodes":
        raise UsageError(f"--by {by}: a replay is split by episodes; give --by episodes or leave it out")
    with How().session(replacing.existing) as session:
        result = split(replays, [_part(text) for text in out], session)
    for each in result.parts if shown.quiet else [result]:
        shown.emit(each)


def filter_episodes(
    replays: Replays,
    out: Out,
    replacing: Replacing,
    shown: Shown,
    *,
    min_return: MinReturn = None,
    max_return: MaxReturn = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    complete: Complete = False,
    terminated: Terminated = False,
) -> None:
    """Keep the whole episodes that satisfy every condition.

    \b
    dreamctl data filter replay -o good --min-return 200 --complete
    """
    from dreamctl.stages.data_edit import Conditions, filter_episodes

    conditions = Conditions(min_return, max_return, min_length, max_length, complete, terminated)
    with How().session(replacing.existing) as session:
        result = filter_episodes(replays, conditions, out, session)
    shown.emit(result)


def prune(replay: Folder, keep_steps: KeepSteps, shown: Shown, dry_run: DryRun = False) -> None:
    """Remove the oldest shards of a replay folder.

    \b
    dreamctl data prune replay --keep-steps 1000000 --dry-run

    Whole sealed shards go, those begun first before others; a shard that a collector is writing is never touched.
    """
    from dreamctl.stages.data_edit import prune

    shown.emit(prune(replay, keep_steps, dry_run))


def _part(text: str) -> tuple[Path, float | None]:
    """An output and its share."""
    name, equals, share = text.rpartition("=")
    if not equals:
        return Path(text), None
    if not name:
        raise UsageError(f"-o {text}: names no output; write OUT=SHARE such as test{text}")
    try:
        return Path(name), float(share)
    except ValueError as error:
        raise UsageError(f"-o {text}: share {share!r} is no number; write OUT=SHARE such as {name or 'test'}=0.1") from error
