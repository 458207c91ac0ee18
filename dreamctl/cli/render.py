"""`dreamctl render`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import How, Planned, Replacing, Which, argument, out_option

Files = Annotated[list[Path], argument("FILE", "Replays, dreams or evaluation episodes.")]


def render(
    files: Files,
    *,
    which: Which,
    out: Annotated[Path, out_option("OUT", ".gif, .mp4, .webp, or .png for a contact sheet.")],
    replacing: Replacing,
    shown: Planned,
    how: How,
) -> None:
    """Show episodes as a film, truth beside dream where there is truth."""
    with how.session(replacing.existing) as session:
        from dreamctl.stages.render import plan, render

        result = (plan if shown.dry_run else render)(which.resolve({}), files, out, session)
    shown.emit(result)
