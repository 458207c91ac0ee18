"""`dreamctl data convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import How, Replacing, Shown, argument, option, out_option
from dreamctl.core.errors import UsageError

FORMATS, IMPORT, MINARI = "Formats", "Reading", "Writing Minari"
Given = Annotated[Path, argument("SOURCE", "A replay, a Minari dataset's folder, or a folder of .npz files.")]
Out = Annotated[Path, out_option("OUT", "What is written; NAME.h5 is one file.")]
From = Annotated[str, option(FORMATS, "replay (default), minari, dreamerv3-npz or npz.", "--from", metavar="NAME")]
To = Annotated[str | None, option(FORMATS, "replay, h5 (one file), minari or npz; by default as OUT is called.", "--to", metavar="NAME")]


@dataclass(frozen=True)
class Reading:
    """How foreign files are understood."""

    env: Annotated[str | None, option(IMPORT, "The task that they are of, SUITE:TASK or a Gymnasium id.", "--env", metavar="ENV")] = None
    reward_dtype: Annotated[str | None, option(IMPORT, "f4 or f8; as it is by default.", metavar="NAME")] = None
    shift_actions: Annotated[
        bool | None,
        option(
            IMPORT,
            "Whether a row holds the action that led to it; by default it does in whole episodes.",
            "--shift-actions/--no-shift-actions",
        ),
    ] = None


@dataclass(frozen=True)
class Telling:
    """What a Minari dataset says of itself."""

    dataset_id: Annotated[str | None, option(MINARI, "By default where OUT lies.", metavar="NAME-vN")] = None
    author: Annotated[list[str] | None, option(MINARI, "Who recorded it; repeatable.", metavar="NAME")] = None
    author_email: Annotated[list[str] | None, option(MINARI, "How to reach them; repeatable.", metavar="ADDRESS")] = None
    code_permalink: Annotated[str | None, option(MINARI, "The code that recorded it.", metavar="URL")] = None
    algorithm_name: Annotated[str | None, option(MINARI, "Of the policy.", metavar="NAME")] = None
    description: Annotated[str | None, option(MINARI, "Of the dataset.", metavar="TEXT")] = None


def convert(
    source: Given,
    out: Out,
    *,
    from_: From = "replay",
    to: To = None,
    reading: Reading,
    telling: Telling,
    replacing: Replacing,
    shown: Shown,
) -> None:
    """Convert from and to Minari, dreamerv3's files and npz.

    \b
    dreamctl data convert cartpole-v0 --from minari -o replay
    dreamctl data convert replay --to minari -o cartpole-v1

    Whole episodes, without loss.

    minari: a dataset of Minari 0.5 (data_format hdf5), both ways; images are written raw, not as JPEG. Environment, spaces, seeds, final
    observations and infos of fixed size are kept, doubles stay doubles.

    dreamerv3-npz: chunks of dreamerv3, or whole episodes of the older Dreamers and of dreamerv3-torch.

    npz: one file an episode of T steps with the keys observation or observation/KEY, action or action/KEY, reward, terminated, truncated
    (T+1 rows each; T are read too where the first or last row tells nothing), and where wanted extra/KEY, seed and task_spec.
    """
    if reading.reward_dtype not in (None, "f4", "f8"):
        raise UsageError(f"--reward-dtype {reading.reward_dtype}: wanted f4 or f8")
    from dreamctl.stages.convert import convert

    told = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(telling).items()}
    with How().session(replacing.existing) as session:
        result = convert(source, out, (from_, to), vars(reading) | told, session)
    shown.emit(result)
