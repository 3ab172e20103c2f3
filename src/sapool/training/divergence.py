"""A loss that is no number: where it came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sapool.base.errors import SapoolError


class DivergedError(SapoolError, ValueError):
    """The loss or its gradient is no longer finite; the last good checkpoint, if there is one, is kept."""


def first_bad_output(model: nn.Module, *inputs: Any) -> str | None:
    """Return the qualified name of the first module whose output for ``inputs`` is not finite.

    Only modules without children are asked; ``None`` where all are finite.
    """
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            values = output if isinstance(output, tuple | list) else (output,)
            if not all(torch.isfinite(v).all() for v in values if isinstance(v, Tensor) and v.is_floating_point()):
                found.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    hooks = [module.register_forward_hook(look(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def first_bad_gradient(model: nn.Module) -> str | None:
    """Return the parameter whose gradient is the first not to be finite on the way back through the network."""
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return name
    return None


def where_it_broke(model: nn.Module, *inputs: Any) -> str:
    """Return in a few words what stopped being finite first, forwards and then backwards."""
    if (module := first_bad_output(model, *inputs)) is not None:
        return f"first not finite: the output of {module or 'the network'}"
    if (parameter := first_bad_gradient(model)) is not None:
        return f"first not finite: the gradient of {parameter}"
    return "every module's output is finite"
