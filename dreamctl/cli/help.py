"""Help as plain text in panels, drawn without rich, whose import alone takes longer than all the rest."""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose options are shown by panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the panels in the order in which their first option was declared."""
        _write_options(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A group whose commands are shown by panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Options, then commands."""
        _write_options(self.get_params(ctx), ctx, formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(getattr(it, "rich_help_panel", None) or "Commands", name, it.get_short_help_str(100)) for name, it in commands if it]
        _write(rows, formatter)


def _write_options(parameters: Iterable[Any], ctx: Any, formatter: Any) -> None:
    rows = []
    for parameter in parameters:
        record = parameter.get_help_record(ctx)
        if record is not None:
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or usual
            rows.append((panel, record[0].partition(" <")[0], record[1]))
    _write(rows, formatter)


def _write(rows: Iterable[tuple[str, str, str]], formatter: Any) -> None:
    panels: dict[str, list[tuple[str, str]]] = {}
    for panel, name, text in rows:
        panels.setdefault(panel, []).append((name, text))
    for panel, records in panels.items():
        with formatter.section(panel):
            formatter.write_dl(records)
