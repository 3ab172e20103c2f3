"""What a traced network keeps of the class it was: containers that index, plain attributes, hooks of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, NoReturn

import torch
from torch import fx, nn
from torch.fx.graph_module import _USER_PRESERVED_ATTRIBUTES_KEY

_PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device, torch.Size)
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class HeldSequential(nn.Sequential):
    """The modules of a sequence; only the whole network runs them, as its graph says."""

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the pools and strides of a re-planned network are known to its graph alone.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "a part of a re-planned network can't run on its own, as the pools are in the whole one's graph: call the "
            "network"
        )


def keep_containers(graph_module: fx.GraphModule, model: nn.Module) -> None:
    """Let the sequences, lists and dicts of ``model`` index and iterate in ``graph_module`` too.

    One that holds modules the graph does not use stays an empty holder, as its positions would shift.
    """
    for name, holder, original in list(_holders(graph_module, model)):
        kinds = {nn.Sequential: HeldSequential, nn.ModuleList: nn.ModuleList, nn.ModuleDict: nn.ModuleDict}
        made = next((kind() for base, kind in kinds.items() if isinstance(original, base)), None)
        children = dict(holder.named_children())
        holder.training = original.training
        if made is None or set(children) != set(original._modules) or holder._parameters or holder._buffers:
            continue
        for key in original._modules:
            made.add_module(key, children[key])
        made.training = original.training
        parent, _, field = name.rpartition(".")
        setattr(graph_module.get_submodule(parent), field, made)


def _holders(graph_module: fx.GraphModule, model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Go through the bare modules that torch.fx made where ``model`` has containers, outermost first."""
    originals = dict(model.named_modules(remove_duplicate=False))
    for name, module in graph_module.named_modules():
        if type(module) is nn.Module and name in originals:
            yield name, module, originals[name]


def keep_attributes(graph_module: fx.GraphModule, model: nn.Module) -> None:
    """Copy the numbers, texts and collections of them that ``model`` has as attributes."""
    kept = {
        name: value
        for name, value in vars(model).items()
        if not name.startswith("_") and not hasattr(graph_module, name) and _is_plain(value)
    }
    graph_module.meta[_USER_PRESERVED_ATTRIBUTES_KEY] = kept  # what a copy of a GraphModule keeps
    for name, value in kept.items():
        setattr(graph_module, name, value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(v) for pair in value.items() for v in pair)
    if is_dataclass(value) and not isinstance(value, type):
        return all(map(_is_plain, vars(value).values()))
    return isinstance(value, _PLAIN)


def keep_hooks(graph_module: fx.GraphModule, model: nn.Module) -> None:
    """Give the hooks of the whole network to its graph."""
    for name in _HOOKS:
        getattr(graph_module, name).update(getattr(model, name))
    graph_module._is_full_backward_hook = model._is_full_backward_hook
