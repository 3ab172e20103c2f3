"""Trying a pruning and taking it back: the tensors and numbers of modules, kept by reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


class Snapshot:
    """The parameters, buffers and plain numbers of modules at one moment.

    Pruning puts new tensors in the place of old ones and never writes into them, so references are enough (queries,
    which are scaled, are new tensors by then).
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._kept = [(m, dict(m._parameters), dict(m._buffers), plain_attributes(m)) for m in modules]

    def restore(self) -> None:
        """Give every module back what it had."""
        for module, parameters, buffers, plain in self._kept:
            module._parameters.update(parameters)
            module._buffers.update(buffers)
            vars(module).update({name: list(v) if isinstance(v, list) else v for name, v in plain.items()})


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's own numbers: ints, and tuples and lists of them, but not whether it trains."""
    return {
        name: list(value) if isinstance(value, list) else value
        for name, value in vars(module).items()
        if not name.startswith("_") and is_plain(value)
    }


def is_plain(value: object) -> bool:
    """Whether a value is a whole number, or a non-empty tuple or list of them."""
    if isinstance(value, tuple | list):
        return bool(value) and all(is_plain(part) and isinstance(part, int) for part in value)
    return isinstance(value, int) and not isinstance(value, bool)
