"""`dreamctl doctor`."""

from dreamctl.cli.options import How, Shown
from dreamctl.core.errors import CheckFailed


def doctor(shown: Shown) -> None:
    """Look at the installation: versions, devices, drawing, plugins, disk."""
    with How().session():
        from dreamctl.stages.doctor import examine

        result = examine()
    shown.emit(result)
    if result.failed:
        raise CheckFailed(f"doctor: {', '.join(result.failed)} failed; see above")
