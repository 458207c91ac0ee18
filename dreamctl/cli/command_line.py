"""The command line as it was typed, for provenance and for how errors are told."""

from contextvars import ContextVar

COMMAND_LINE: ContextVar[tuple[str, ...]] = ContextVar("COMMAND_LINE", default=())
