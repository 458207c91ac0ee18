"""The kinds of a union, for tests that walk all of them; a union of one is its only member."""

from typing import Any, get_args

import pytest


def kinds(union: Any) -> tuple[type, ...]:
    return get_args(union) or (union,)


def each(name: str, union: Any) -> pytest.MarkDecorator:
    """Run a test once for each kind, handed over as the argument `name`."""
    return pytest.mark.parametrize(name, kinds(union), ids=lambda kind: kind.kind)
