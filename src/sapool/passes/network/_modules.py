"""Small helpers that every pass shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def modules_of(model: nn.Module, kind: type[M]) -> Iterator[tuple[str, M]]:
    """Yield (qualified name, module) for every module of exactly this kind or a subclass."""
    for name, module in list(model.named_modules()):
        if isinstance(module, kind):
            yield name, module


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where the module called ``name`` is."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def _shapes(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tuple(a.shape) if isinstance(a, Tensor) else a for a in args)


def record_inputs(
    model: nn.Module,
    images: Tensor,
    kind: type[nn.Module],
    describe: Callable[[Any, tuple[Any, ...]], Any] = _shapes,
) -> dict[str, list[Any]]:
    """Run ``model`` on ``images`` (N, C, H, W) and return, by name, the positional inputs of every module of a kind.

    ``describe`` says what is kept of a call, given the module and its inputs: by default the inputs, tensors as their
    shapes. A module called twice has two entries.
    """
    seen: dict[str, list[Any]] = {}
    hooks = []
    for name, module in modules_of(model, kind):

        def keep(called: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
            seen.setdefault(name, []).append(describe(called, args))

        hooks.append(module.register_forward_pre_hook(keep))
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
