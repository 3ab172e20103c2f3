"""Removing a channel equals setting it to zero: checked, because a dependency graph may misread a network's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sapool.networks.traced import evaluating
from sapool.pruning.pools import rule_of

Kept = Mapping[str, Mapping[str, Sequence[int]]]

# Of the largest output; sums are taken in another order.
_TOLERANCE = 1e-3


def mixes_channels(model: nn.Module) -> bool:
    """Whether a norm computes its statistics across channels, so that it sees whether a zero is there or not."""
    pools = [module for module in model.modules() if rule_of(module) is not None]
    inside = {part for pool in pools for part in pool.modules()}
    return any(
        isinstance(m, nn.LayerNorm | nn.LocalResponseNorm)
        or (isinstance(m, nn.GroupNorm) and m.num_groups != m.num_channels)
        for m in model.modules()
        if m not in inside
    )


def first_difference(original: nn.Module, pruned: nn.Module, kept: Kept, example: Tensor) -> str | None:
    """Return what differs between a pruned network and the original with the other channels at zero; None: nothing.

    Args:
        original: the network before.
        pruned: the network after.
        kept: layer -> side ("in", "out") -> places of the channels that are left.
        example: images (N, C, H, W).
    """
    try:
        ours = tree_leaves(run_naming(pruned, example))
    except ValueError as error:
        return str(error)
    theirs = tree_leaves(masked_output(original, kept, example))
    for a, b in zip(ours, theirs, strict=True):
        if not isinstance(a, Tensor):
            continue
        if a.shape != b.shape:
            return f"an output became {tuple(a.shape)}, and was {tuple(b.shape)}"
        error_ = float((a - b).abs().max()) / max(float(b.abs().max()), 1e-12)
        if not error_ <= _TOLERANCE:
            return f"its output differs by {error_:.1g} from the network with those channels at zero"
    return None


def run_naming(model: nn.Module, example: Tensor) -> Any:
    """Run ``model`` in eval mode.

    Raises:
        ValueError: it fails; the message names the innermost module that does.
    """
    entered: list[str] = []
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: entered.append(name)))
        handles.append(module.register_forward_hook(lambda *_: _leave(entered)))
    try:
        with evaluating(model):
            return model(example)
    except Exception as error:  # the model's own code runs here and may raise anything
        said = str(error).strip().split("\n")[0]
        raise ValueError(f"{entered[-1] or 'its own code'} then fails with: {said}") from error
    finally:
        for handle in handles:
            handle.remove()


def _leave(entered: list[str]) -> None:
    entered.pop()


def masked_output(original: nn.Module, kept: Kept, example: Tensor) -> Any:
    """Run ``original`` in eval mode with every channel that is not ``kept`` at zero."""
    handles = []
    for name, sides in kept.items():
        layer = original.get_submodule(name)
        dim = -1 if isinstance(layer, nn.Linear) else 1
        if not (isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) or rule_of(layer) is not None):
            continue
        if "in" in sides:
            handles.append(layer.register_forward_pre_hook(_MaskInput(sides["in"], dim)))
        if "out" in sides:
            handles.append(layer.register_forward_hook(_MaskOutput(sides["out"], dim)))
    try:
        with evaluating(original):
            return original(example)
    finally:
        for handle in handles:
            handle.remove()


def _masked(x: Tensor, keep: Sequence[int], dim: int) -> Tensor:
    places = torch.as_tensor(list(keep), device=x.device)
    return torch.zeros_like(x).index_copy(dim, places, x.index_select(dim, places))


class _MaskInput:
    def __init__(self, keep: Sequence[int], dim: int) -> None:
        self.keep, self.dim = keep, dim

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
        return (_masked(args[0], self.keep, self.dim), *args[1:])


class _MaskOutput:
    def __init__(self, keep: Sequence[int], dim: int) -> None:
        self.keep, self.dim = keep, dim

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return _masked(output, self.keep, self.dim)
