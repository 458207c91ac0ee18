"""Learn a world model of an environment, train an actor-critic in its imagination, and script every step."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dreamctl.stages.policy import load as load

    __version__: str

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> object:
    """`load` and `__version__`, fetched when first asked for, so that importing the package stays cheap."""
    if name == "load":
        from dreamctl.stages.policy import load

        return load
    if name == "__version__":
        from importlib.metadata import version

        return version("dreamctl")
    raise AttributeError(f"module 'dreamctl' has no attribute {name!r}")
