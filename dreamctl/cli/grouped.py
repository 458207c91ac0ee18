"""Options in groups: a parameter annotated with a dataclass stands for one option a field."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer should see it, its groups spread out; called so, it puts them together again."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in parameters if is_dataclass(p.annotation)}
    flat = [option for p in parameters for option in (_options(groups[p.name]) if p.name in groups else [p])]
    flat = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in flat]

    def call(**given: Any) -> None:
        made = {name: cls(**{field.name: given.pop(field.name) for field in fields(cls)}) for name, cls in groups.items()}
        function(**given, **made)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.__annotations__ = {option.name: option.annotation for option in flat}
    call.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return call


def _options(cls: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(cls, include_extras=True)
    empty = inspect.Parameter.empty
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(cls)
    ]
