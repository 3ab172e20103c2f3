"""What samples a map: a traced node read as an operator with a stride, or the reason why its stride can't change."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from sapool.base.records import UnsupportedSite
from sapool.layers import Pair, as_pair, is_pool
from sapool.networks.traced import TracedModel
from sapool.networks.tracer import strided_modules

Kind = Literal["conv", "max", "avg", "blur", "slice"]
Shape = tuple[int, ...]

_MAX_FUNCTIONS = (F.max_pool2d, torch.max_pool2d)
_AVG_FUNCTIONS = (F.avg_pool2d, torch._C._nn.avg_pool2d)
# Functions that sample, but in a way that has no stride to change.
_OTHER_SAMPLING: dict[Any, str] = {
    F.interpolate: "interpolate",
    F.adaptive_avg_pool2d: "adaptive average pooling",
    F.adaptive_max_pool2d: "adaptive max pooling",
    torch.adaptive_avg_pool1d: "adaptive average pooling",
    F.pixel_unshuffle: "pixel_unshuffle",
    F.lp_pool2d: "lp_pool2d",
    torch.conv2d: "a functional convolution",
    F.conv2d: "a functional convolution",
}
# Leaf modules that may turn a map around, but never sample it.
_NO_SAMPLING = (nn.Linear, nn.LayerNorm, nn.Identity, nn.Flatten, nn.Unflatten, nn.Softmax, nn.MultiheadAttention)


@dataclass(frozen=True)
class Operator:
    """A node that keeps every ``stride``-th pixel of a map.

    Attributes:
        node: the node.
        kind: a convolution, a max, average or blur pool, or slicing.
        stride: in pixels, the same on both sides.
        extra_pad: zeros (rows, columns) below and to the right with which a convolution keeps the map's size at
            stride 1, and its own samples their places.
    """

    node: fx.Node
    kind: Kind
    stride: int
    extra_pad: Pair = (0, 0)


def module_of(traced: TracedModel, node: fx.Node) -> nn.Module | None:
    """Return the module that ``node`` calls, if any."""
    return traced.module.get_submodule(str(node.target)) if node.op == "call_module" else None


def map_sides(traced: TracedModel, node: fx.Node) -> tuple[Shape, Shape] | None:
    """Return the shapes (N, C, H, W) that enter and leave ``node``, if both have four dimensions."""
    after = traced.shapes.get(node.name, ())
    befores = [traced.shapes.get(arg.name, ()) for arg in node.all_input_nodes]
    maps = [shape for shape in befores if len(shape) == 4]
    return (maps[0], after) if len(after) == 4 and maps else None


def samples(traced: TracedModel, node: fx.Node) -> bool:
    """Whether ``node`` makes a map smaller by sampling it, global pooling left out."""
    sides = map_sides(traced, node)
    if sides is None or not _works_on_maps(traced, node):
        return False
    (_, _, rows, columns), (_, _, new_rows, new_columns) = sides
    smaller = new_rows < rows or new_columns < columns
    if not smaller or (new_rows, new_columns) != (1, 1):
        return smaller
    module = module_of(traced, node)
    if isinstance(module, nn.Conv2d):
        return max(module.stride) > 1  # a convolution over the whole map is a head
    # One window over the whole map is a head, not a site.
    window = _pool_settings(traced, node)
    return window is not None and not (window[0] >= rows and window[1] >= columns)


def _works_on_maps(traced: TracedModel, node: fx.Node) -> bool:
    module = module_of(traced, node)
    if module is not None:
        return not isinstance(module, _NO_SAMPLING) and type(module).__name__ != "Permute"  # torchvision's
    functions = (*_MAX_FUNCTIONS, *_AVG_FUNCTIONS, *_OTHER_SAMPLING)
    return node.op == "call_function" and (node.target in functions or _slice_steps(node) is not None)


def _pool_settings(traced: TracedModel, node: fx.Node) -> Pair | None:
    """Return the kernel of a max or average pool, module or function."""
    module = module_of(traced, node)
    if module is not None:
        kernel = getattr(module, "kernel_size", None)
        return as_pair(kernel) if isinstance(kernel, int | tuple) else None
    if node.target in (*_MAX_FUNCTIONS, *_AVG_FUNCTIONS):
        kernel = _argument(node, 1, "kernel_size", None)
        return as_pair(tuple(kernel) if isinstance(kernel, list | tuple) else kernel)
    return None


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    value = node.args[position] if len(node.args) > position else node.kwargs.get(name)
    return default if value is None or value in ([], ()) else value


def _slice_steps(node: fx.Node) -> Pair | None:
    """Return the steps (rows, columns) of ``x[:, :, a::s, b::t]``, or None for any other indexing."""
    if node.target is not operator.getitem or not isinstance(node.args[1], tuple):
        return None
    index = [part for part in node.args[1] if part is not Ellipsis]
    spatial = index[-2:] if Ellipsis in node.args[1] else index[2:4]
    steps = [part.step for part in spatial if isinstance(part, slice) and isinstance(part.step, int)]
    return (steps[0], steps[1]) if len(steps) == len(spatial) == 2 and max(steps) > 1 else None


def read_operator(traced: TracedModel, node: fx.Node) -> Operator | str:
    """Read a node that :func:`samples` as an operator, or say why its stride can't be changed."""
    module = module_of(traced, node)
    calls = sum(other.op == "call_module" and other.target == node.target for other in traced.module.graph.nodes)
    if module is not None and calls > 1:
        return f"it is called {calls} times; one stride can't serve several places"
    if str(node.target) in traced.opaque:
        return f"torch.fx can't trace its code: {traced.opaque[str(node.target)]}"
    kind = _kind_of(module, node)
    if kind is None:
        return _why_unknown(module, node)
    rows, columns = _stride_of(module, node)
    if rows == columns == 1:
        return "it shrinks the map for want of padding, not by its stride"
    if rows != columns:
        return f"its stride {(rows, columns)} does not reduce both sides alike"
    if isinstance(module, nn.Conv2d):
        return _read_conv(module, node)
    return Operator(node, kind, rows)


def inner_sites(traced: TracedModel, node: fx.Node) -> tuple[UnsupportedSite, ...]:
    """List what has a stride inside a module of the network's own that stays one node."""
    module, name = module_of(traced, node), str(node.target)
    if module is None or is_pool(module) or type(module).__module__.startswith("torch.nn.modules."):
        return ()
    why = traced.opaque.get(name, "it runs as one piece")
    reason = f"it is inside {name} ({type(module).__name__}), whose code can't be changed: {why}"
    return tuple(UnsupportedSite(f"{name}.{inner}", reason) for inner in strided_modules(module) if inner)


def _kind_of(module: nn.Module | None, node: fx.Node) -> Kind | None:
    kinds: list[tuple[bool, Kind]] = [
        (isinstance(module, nn.Conv2d), "conv"),
        (isinstance(module, nn.MaxPool2d) or node.target in _MAX_FUNCTIONS, "max"),
        (isinstance(module, nn.AvgPool2d) or node.target in _AVG_FUNCTIONS, "avg"),
        (_is_blur(module), "blur"),
        (module is None and _slice_steps(node) is not None, "slice"),
    ]
    return next((kind for found, kind in kinds if found), None)


def _is_blur(module: nn.Module | None) -> bool:
    """Whether this is timm's BlurPool2d: by name, as timm need not be there."""
    return type(module).__name__ in ("BlurPool2d", "BlurPool") and hasattr(module, "stride")


def _why_unknown(module: nn.Module | None, node: fx.Node) -> str:
    what = type(module).__name__ if module is not None else _OTHER_SAMPLING[node.target]
    return (
        f"{what} shrinks the map; only convolution modules, max, average and blur pooling and strided slices have a "
        "stride to change"
    )


def _stride_of(module: nn.Module | None, node: fx.Node) -> Pair:
    if module is not None:
        return as_pair(module.stride)  # type: ignore[arg-type]
    steps = _slice_steps(node)
    if steps is not None:
        return steps
    kernel = _argument(node, 1, "kernel_size", 1)
    stride = _argument(node, 2, "stride", kernel)
    return as_pair(tuple(stride) if isinstance(stride, list | tuple) else stride)


def _read_conv(conv: nn.Conv2d, node: fx.Node) -> Operator | str:
    """Read a strided convolution; one whose padding follows its stride (SAME) keeps the map's size by itself."""
    if isinstance(conv.padding, str) or type(conv).__name__.endswith("Same"):
        return Operator(node, "conv", conv.stride[0])
    sides = zip(conv.kernel_size, conv.padding, conv.dilation, strict=True)
    extra = [d * (k - 1) - 2 * p for k, p, d in sides]
    if min(extra) < 0:
        return (
            f"its kernel {conv.kernel_size} with padding {conv.padding} would make the map larger at stride 1: "
            "it is padded by more than its kernel needs"
        )
    if max(extra) > 0 and conv.padding_mode != "zeros":
        return f"its kernel {conv.kernel_size} needs zeros at stride 1, but its padding_mode is {conv.padding_mode!r}"
    return Operator(node, "conv", conv.stride[0], (extra[0], extra[1]))


def with_step(part: Any, step: int) -> Any:
    """Return one part of an index with another step, if it had one."""
    return slice(part.start, part.stop, step) if isinstance(part, slice) and (part.step or 1) > 1 else part
