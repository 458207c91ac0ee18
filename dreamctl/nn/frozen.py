"""Networks as constants: gradients flow through them and not into them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """What is computed inside has gradients of its inputs and none of the modules' parameters, whatever is computed before or after."""
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
