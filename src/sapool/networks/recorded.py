"""Networks that torch.fx can't trace at all: what shrinks their maps, read off the layers that run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from sapool.base.records import DownsamplingSite, UnsupportedSite
from sapool.layers import is_pool
from sapool.networks.operators import Operator, map_sides, read_operator, samples
from sapool.networks.traced import (
    FallbackWarning,
    InputSize,
    Network,
    TracedModel,
    as_input_size,
    run_once,
    trace,
)
from sapool.networks.tracer import UntraceableModelError, strided_modules

Shape = tuple[int, ...]


def read_model(model: Network, input_size: InputSize, whole: Collection[str] = ()) -> TracedModel:
    """Trace ``model``; where that is impossible, run it once and record its layers.

    Args:
        model: a module that maps (N, C, H, W) to something; of a traced one its trace at this size is returned.
        input_size: an int (square, 3 channels) or (C, H, W).
        whole: qualified names of modules that a trace keeps as one node.

    Returns:
        The traced model; an ``untraceable`` one where it could only be recorded: a :class:`FallbackWarning` says so.

    Raises:
        ValueError: it is no module, or can't take this input.
    """
    known = model.by_size.get(as_input_size(input_size)) if isinstance(model, TracedModel) and not whole else None
    if known is not None:
        return known
    try:
        return trace(model, input_size, whole)
    except UntraceableModelError as error:
        recorded = _record(model, input_size, str(error))
        warnings.warn(
            f"{error}; its layers were recorded from one run instead: pools can only stand in-place, at modules",
            FallbackWarning,
            stacklevel=3,
        )
        return recorded


@dataclass(frozen=True)
class _Call:
    name: str
    before: Shape
    after: Shape


def _record(model: Network, input_size: InputSize, why: str) -> TracedModel:
    if isinstance(model, TracedModel):
        return replace(record(model.model, input_size, why), by_size=model.by_size)
    return record(model, input_size, why)


def record(model: nn.Module, input_size: InputSize, why: str) -> TracedModel:
    """Run ``model`` once in eval mode and list the layers that ran on maps, in their order.

    The result's graph is a list: each layer has a node, and before it one that stands for all the code in between;
    ``why`` says what keeps torch.fx from tracing the model.

    Raises:
        InputSizeError: the model fails at this size.
    """
    size = as_input_size(input_size)
    calls: list[_Call] = []
    with _recording(model, calls):
        run_once(model, size)
    kinds = {name: type(module) for name, module in model.named_modules()}
    graph = fx.Graph()
    last = graph.placeholder("x")
    shapes: dict[str, Shape] = {last.name: (1, *size)}
    for call in calls:
        source = graph.call_function(_code_in_between, (last,))
        last = graph.call_module(call.name, (source,))
        shapes |= {source.name: call.before, last.name: call.after}
        owners = [call.name[:i] for i, letter in enumerate(call.name) if letter == "."]
        last.meta["nn_module_stack"] = {path: (path, kinds[path]) for path in owners}
    graph.output(last)
    return TracedModel(model, size, fx.GraphModule(model, graph, type(model).__name__), shapes, untraceable=why)


def _code_in_between(x: Tensor) -> Tensor:
    """Stand for code that was not traced; the graph of a recording is read, not run."""
    raise RuntimeError("the graph of a recorded network can't run")


@contextmanager
def _recording(model: nn.Module, calls: list[_Call]) -> Iterator[None]:
    """Note every call of a layer that takes and makes one map."""

    def hook(name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            maps = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.dim() == 4]
            if maps and isinstance(output, Tensor) and output.dim() == 4:
                calls.append(_Call(name, tuple(maps[0].shape), tuple(output.shape)))

        return note

    handles = [module.register_forward_hook(hook(name), with_kwargs=True) for name, module in _layers(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Go through what counts as one layer: convolutions, our pools, and what has no children."""
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in inside:
            continue
        if isinstance(module, nn.Conv2d) or is_pool(module):
            inside.update(module.modules())
        elif next(module.children(), None) is not None:
            continue
        if name:
            yield name, module


def recorded_sites(traced: TracedModel) -> tuple[DownsamplingSite | UnsupportedSite, ...]:
    """Find the sites of a recorded network: layers that ran one after the other between the same two sizes are one."""
    found: list[DownsamplingSite | UnsupportedSite] = []
    group: list[fx.Node] = []
    seen = {traced.shapes["x"][2:]}  # sizes that the image or a layer has made
    for node in traced.module.graph.nodes:
        if node.op != "call_module":
            continue
        (_, _, *before), (_, _, *after) = map_sides(traced, node) or ((0, 0), (0, 0))
        if tuple(before) not in seen and max(before) > 1 and _is_smaller(tuple(before), seen):
            found.append(_unseen(node, tuple(before)))
        seen |= {tuple(before), tuple(after)}
        if samples(traced, node):
            if group and not _parallel(traced, group[0], node):
                found.append(_site(traced, group))
                group = []
            group.append(node)
    found += [_site(traced, group)] if group else []
    return (*found, *_idle(traced))


def _is_smaller(size: Shape, seen: set[Shape]) -> bool:
    return any(size[0] < rows and size[1] < columns for rows, columns in seen)


def _unseen(node: fx.Node, size: Shape) -> UnsupportedSite:
    return UnsupportedSite(
        f"before {node.target}",
        f"code that is no module shrinks the map to {size[0]} x {size[1]}, and torch.fx can't trace this network",
    )


def _parallel(traced: TracedModel, first: fx.Node, second: fx.Node) -> bool:
    """Whether two layers take a map between the same sizes within one block."""
    sides = [map_sides(traced, node) or ((), ()) for node in (first, second)]
    same = len({(before[2:], after[2:]) for before, after in sides}) == 1
    return same and (_common([first, second]) != "" or all("." not in str(n.target) for n in (first, second)))


def _common(nodes: list[fx.Node]) -> str:
    """Return the innermost module around all of ``nodes``."""
    paths = [str(node.target).split(".")[:-1] for node in nodes]
    kept = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        kept.append(parts[0])
    return ".".join(kept)


def _site(traced: TracedModel, group: list[fx.Node]) -> DownsamplingSite | UnsupportedSite:
    names = tuple(str(node.target) for node in group)
    read = [read_operator(traced, node) for node in group]
    refusals = [operator for operator in read if isinstance(operator, str)]
    if refusals:
        return UnsupportedSite(names[0], refusals[0])
    before, after = map_sides(traced, group[0]) or ((0, 0, 0, 0), (0, 0, 0, 0))
    first = read[0]
    assert isinstance(first, Operator)
    return DownsamplingSite(
        name=(_common(group) if len(group) > 1 else "") or names[0],
        before=(before[2], before[3]),
        after=(after[2], after[3]),
        in_channels=before[1],
        out_channels=after[1],
        operators=names,
        exit=group[-1].name,
        reduction=first.stride,
    )


def _idle(traced: TracedModel) -> list[UnsupportedSite]:
    """List what has a stride but did not run."""
    ran = {str(node.target) for node in traced.module.graph.nodes if node.op == "call_module"}
    layers = {name for name, _ in _layers(traced.model)}
    return [
        UnsupportedSite(name, "it did not run for the example image: the code chose another way")
        for name in strided_modules(traced.model)
        if name in layers - ran
    ]
