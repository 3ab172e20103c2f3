"""Structured pruning: channels really go, and what is coupled with them goes, too."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sapool.base.ranges import check_range
from sapool.base.records import Reporter, SilentReporter
from sapool.base.suggest import suggest
from sapool.layers import is_pool
from sapool.networks.traced import InputSize, as_input_size, example_input
from sapool.pruning.costs import Passes, Size, cost_of
from sapool.pruning.groups import ChannelGroups, KeptChannels
from sapool.pruning.importance import Batches, Loss, add_gradients, check_importance, make_scorers
from sapool.pruning.masking import first_difference, mixes_channels
from sapool.pruning.records import LayerChange, Pruned, PruneRecord
from sapool.pruning.targets import Pruning
from sapool.pruning.widths import Widths

_MOST_STEP = 4096  # of steps, and of channels that a width is rounded to


def prune_channels(
    model: nn.Module,
    example: Tensor | InputSize,
    *,
    ratio: float | None = None,
    ram_bytes: int | None = None,
    macs: int | None = None,
    importance: str = "magnitude",
    iterative_steps: int = 1,
    round_to: int = 8,
    global_pruning: bool = False,
    exclude: Collection[str] = (),
    data: Batches | None = None,
    loss: Loss | None = None,
    after_step: Callable[[nn.Module, int], object] | None = None,
    passes: Passes = "all",
    reporter: Reporter | None = None,
) -> Pruned:
    """Remove channels from a copy of ``model``: tensors get smaller, coupled layers stay consistent, pools included.

    Removing a channel equals setting it to zero wherever it is read, which is checked. The network's outputs keep
    their channels. Channels are followed by torch-pruning's dependency graph (Fang et al., CVPR 2023).

    Args:
        model: any network of one tensor (N, C, H, W), with a plan in it or not; it stays as it is.
        example: images (N, C, H, W), or an input size: an int (square, 3 channels) or (C, H, W).
        ratio: share of channels to remove, of every group of layers that share them.
        ram_bytes: remove channels until the predicted arena (``arena_bytes``, 64-bit) is at most this: first where most
            bytes at the peak go for the least importance, with a new profile after every round.
        macs: remove channels until one inference has at most this many multiply-accumulates.
        importance: one of :data:`IMPORTANCES`; inside pools it is always the norm.
        iterative_steps: approach the target in so many steps, with new importances after each.
        round_to: what remains of a group is a multiple of this (the nearest, for a ratio), unless it had fewer.
        global_pruning: with ``ratio``, rank all groups' channels together, each relative to its group's mean.
        exclude: names of modules whose outputs keep their channels.
        data: for ``importance="taylor"``: batches of (images, labels), gone through once a step.
        loss: of (outputs, labels), for ``"taylor"``; default: cross-entropy.
        after_step: called with the network and the step's number behind every step but the last: the place to
            fine-tune, in place. With it, no check for equality is possible at the end.
        passes: the export's, for the predicted arena.
        reporter: is told the progress.

    Returns:
        The pruned network, in the mode of the given one, and the record: channels, parameters, multiply-accumulates and
        predicted arena before and after.

    Raises:
        ValueError: a value out of its range, no or several targets, an unknown layer, a target under what is possible
            (the message says the least), or a network that torch-pruning can't follow.
        ImportError: torch-pruning is not installed.
    """
    target, value = _target(ratio, ram_bytes, macs)
    _check(model, importance, iterative_steps, round_to, global_pruning, target, exclude, data)
    images, size = _example(model, example)
    pruned = copy.deepcopy(model)
    groups = ChannelGroups(pruned, images, exclude)
    if not groups.groups:
        raise ValueError(f"{type(model).__name__} has no channels to remove: every layer is excluded or an output")
    widths = Widths(groups, round_to, make_scorers(importance))
    score = partial(_score, pruned, widths, data if importance == "taylor" else None, loss)

    def between(step: int) -> None:
        if after_step is not None:
            after_step(pruned, step)
        score()

    score()
    before = cost_of(model, size, passes)
    pruning = Pruning(pruned, size, widths, passes, iterative_steps, reporter or SilentReporter(), between)
    _run(pruning, target, value, global_pruning)
    pruned.zero_grad()
    _restore_frozen(model, pruned)
    if after_step is None:
        _check_equal(model, pruned, groups.kept, images)
    settings = {
        "iterative_steps": iterative_steps,
        "round_to": round_to,
        "global_pruning": global_pruning,
        "exclude": list(exclude),
        "passes": passes,
    }
    after, layers = cost_of(pruned, size, passes), _changes(model, pruned, groups.kept)
    return Pruned(pruned, PruneRecord(target, value, importance, settings, size, before, after, layers))


def _target(ratio: float | None, ram_bytes: int | None, macs: int | None) -> tuple[str, float]:
    given = [(n, v) for n, v in (("ratio", ratio), ("ram_bytes", ram_bytes), ("macs", macs)) if v is not None]
    if len(given) != 1:
        said = " and ".join(name for name, _ in given) or "none"
        raise ValueError(f"prune_channels needs exactly one of ratio, ram_bytes and macs, got {said}")
    (name, value), *_ = given
    if name == "ratio" and not 0 < value < 1:
        raise ValueError(f"ratio must be over 0 and under 1, got {value}")
    if name != "ratio" and not (isinstance(value, int) and value >= 1):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
    return name, value


def _check(
    model: nn.Module,
    importance: str,
    iterative_steps: int,
    round_to: int,
    global_pruning: bool,
    target: str,
    exclude: Collection[str],
    data: Batches | None,
) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    check_importance(importance, data)
    for name, value in (("iterative_steps", iterative_steps), ("round_to", round_to)):
        check_range(name, value, 1, _MOST_STEP)
    if global_pruning and target != "ratio":
        raise ValueError(f"global_pruning goes with ratio; {target} always takes what costs least, wherever it is")
    if isinstance(exclude, str):
        raise ValueError(f"exclude must be a list of names, got the text {exclude!r}")
    known = [name for name, _ in model.named_modules() if name]
    for name in exclude:
        if name not in known:
            raise ValueError(f"exclude: {type(model).__name__} has no layer {name!r}: {suggest(name, known)}")


def _example(model: nn.Module, example: Tensor | InputSize) -> tuple[Tensor, Size]:
    if not isinstance(example, Tensor):
        size = as_input_size(example)
        return example_input(model, size), size
    if example.dim() != 4 or example.shape[0] < 1:
        raise ValueError(f"example must be images (N, C, H, W) or an input size, got a tensor {tuple(example.shape)}")
    _, channels, rows, columns = example.shape
    first = next(model.parameters(), example)
    return example[:1].to(first.device, first.dtype), (channels, rows, columns)


def _score(model: nn.Module, widths: Widths, data: Batches | None, loss: Loss | None) -> None:
    if data is not None:
        add_gradients(model, data, loss)
    widths.rescore()


def _run(pruning: Pruning, target: str, value: float, global_pruning: bool) -> None:
    if target == "ratio":
        pruning.to_ratio(value, global_pruning)
    elif target == "ram_bytes":
        pruning.to_ram(math.floor(value))
    else:
        pruning.to_macs(math.floor(value))


def _restore_frozen(model: nn.Module, pruned: nn.Module) -> None:
    """Freeze what was frozen: new parameters begin with a gradient."""
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(trains[name])


def _check_equal(model: nn.Module, pruned: nn.Module, kept: KeptChannels, images: Tensor) -> None:
    if mixes_channels(model):
        return
    with torch.no_grad():
        said = first_difference(model, pruned, kept.places, images)
    if said is not None:
        raise ValueError(
            f"torch-pruning can't follow {type(model).__name__}{_suspect(model, kept)}: {said}; name it in exclude, or "
            "write it with layers of torch.nn"
        )


def _suspect(model: nn.Module, kept: KeptChannels) -> str:
    """Name the first module with parameters of its own that is no layer of torch's or ours."""
    for name, module in model.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        known = is_pool(module) or type(module).__module__.startswith("torch.nn.")
        if own and name not in kept.places and not known:
            return f" ({name or 'the network itself'}, a {type(module).__name__}, has parameters of its own)"
    return ""


def _changes(model: nn.Module, pruned: nn.Module, kept: KeptChannels) -> tuple[LayerChange, ...]:
    changes = []
    for name, sides in kept.places.items():
        before, after = _width(model.get_submodule(name)), _width(pruned.get_submodule(name))
        if before != after:
            places = {f"kept_{side}": tuple(sides[side]) for side in ("in", "out") if side in sides}
            kind = type(pruned.get_submodule(name)).__name__
            changes.append(LayerChange(name, kind, before[0], after[0], before[1], after[1], **places))
    return tuple(changes)


def _width(layer: Any) -> tuple[int, int]:
    """Return a layer's input and output channels."""
    for names in (("in_channels", "out_channels"), ("in_features", "out_features"), ("num_features",) * 2):
        if hasattr(layer, names[0]):
            return getattr(layer, names[0]), getattr(layer, names[1], getattr(layer, names[0]))
    width = next((v for n in ("num_channels", "channels") if isinstance(v := getattr(layer, n, None), int)), 0)
    return width, width
