"""Where, in execution order, a network reduces H x W."""

from __future__ import annotations

from torch import fx, nn

from sapool.graph import InputSize, TracedModel, trace
from sapool.layers import as_pair
from sapool.records import DownsamplingSite, UnsupportedSite

Site = DownsamplingSite | UnsupportedSite
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def find_downsampling(model: nn.Module, input_size: InputSize) -> tuple[Site, ...]:
    """Find every place where ``model`` reduces its maps, in execution order.

    Args:
        model: any network that torch.fx can trace.
        input_size: an int (square, 3 channels) or (C, H, W).

    Returns:
        A :class:`DownsamplingSite` for each place that can be re-planned, an :class:`UnsupportedSite` with the reason
        for each that can't. Global pooling (to 1 x 1, in the head or in squeeze-and-excitation) is no site.

    Raises:
        ValueError: no module, an untraceable one, or a size it can't take.
    """
    return find_sites(trace(model, input_size))


def find_sites(traced: TracedModel) -> tuple[Site, ...]:
    """Find the sites of an already traced model: see :func:`find_downsampling`."""
    later = _post_dominators(traced.module.graph)
    return tuple(_describe(traced, group, later) for group in _group(traced))


def _map_sides(traced: TracedModel, node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the shapes (N, C, H, W) that enter and leave ``node``, if both are maps."""
    after = traced.shapes.get(node.name, ())
    befores = [traced.shapes.get(arg.name, ()) for arg in node.all_input_nodes]
    maps = [shape for shape in befores if len(shape) == 4]
    return (maps[0], after) if len(after) == 4 and maps else None


def _module_of(traced: TracedModel, node: fx.Node) -> nn.Module | None:
    return traced.module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _shrinks(traced: TracedModel, node: fx.Node) -> bool:
    sides = _map_sides(traced, node)
    if sides is None:
        return False
    (_, _, rows, columns), (_, _, new_rows, new_columns) = sides
    smaller = new_rows < rows or new_columns < columns
    to_one = (new_rows, new_columns) == (1, 1)
    module = _module_of(traced, node)
    if isinstance(module, _POOLS):  # one window over the whole map is a head, not a site
        return smaller and not (to_one and as_pair(module.kernel_size) >= (rows, columns))
    return smaller and not (to_one and not isinstance(module, nn.Conv2d))


def _group(traced: TracedModel) -> list[list[fx.Node]]:
    """Gather the operators that take parallel paths from one map size to the next."""
    groups: list[list[fx.Node]] = []
    for node in traced.module.graph.nodes:
        if not _shrinks(traced, node):
            continue
        if groups and _sizes(traced, groups[-1][0]) == _sizes(traced, node) and not _reaches(groups[-1][0], node):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _sizes(traced: TracedModel, node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sides = _map_sides(traced, node)
    return ((), ()) if sides is None else (sides[0][2:], sides[1][2:])


def _reaches(start: fx.Node, goal: fx.Node) -> bool:
    seen, stack = {start}, [start]
    while stack:
        for user in stack.pop().users:
            if user is goal:
                return True
            if user not in seen:
                seen.add(user)
                stack.append(user)
    return False


def _post_dominators(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Map each node to the nodes that every path from it to the output passes, nearest first, itself included."""
    order = list(graph.nodes)
    position = {node: index for index, node in enumerate(order)}
    chains: dict[fx.Node, list[fx.Node]] = {}
    for node in reversed(order):
        users = [chains[user] for user in node.users if user in chains]
        common = set(users[0]).intersection(*users[1:]) if users else set()
        chains[node] = [node, *sorted(common, key=position.__getitem__)]
    return chains


def _describe(traced: TracedModel, group: list[fx.Node], later: dict[fx.Node, list[fx.Node]]) -> Site:
    names = tuple(str(node.target) if node.op == "call_module" else node.name for node in group)
    reason = next((text for node in group if (text := _refusal(traced, node))), None)
    if reason:
        return UnsupportedSite(names[0], reason)
    before, after = _sizes(traced, group[0])
    common = set(later[group[0]]).intersection(*(later[node] for node in group[1:]))
    meetings = [node for node in later[group[0]] if node in common and traced.shapes.get(node.name, ())[2:] == after]
    if not meetings:
        return UnsupportedSite(names[0], f"its {len(group)} parallel paths never meet at {after} again")
    block = _enclosing_block(traced, group)
    way_out = _end_of_block(meetings, block) if block else _end_of_layer(traced, meetings[0])
    sides = _map_sides(traced, group[0])
    return DownsamplingSite(
        name=block or names[0],
        before=(before[0], before[1]),
        after=(after[0], after[1]),
        in_channels=sides[0][1] if sides else 0,
        out_channels=traced.shapes[way_out.name][1],
        operators=names,
        exit=way_out.name,
        reduction=_strides(_module_of(traced, group[0]))[0],
    )


def _refusal(traced: TracedModel, node: fx.Node) -> str | None:
    """Say why an operator's stride can't be changed, or None."""
    module = _module_of(traced, node)
    if not isinstance(module, (nn.Conv2d, *_POOLS)):
        what = type(module).__name__ if module is not None else f"{node.op} {node.target}"
        return f"{what} shrinks the map; only convolutions and max or average pooling modules can be re-planned"
    calls = sum(other.op == "call_module" and other.target == node.target for other in traced.module.graph.nodes)
    if calls > 1:
        return f"it is called {calls} times; one stride can't serve several places"
    rows, columns = _strides(module)
    if rows == columns == 1:
        return "it shrinks the map for want of padding, not by its stride"
    if rows != columns:
        return f"its stride {(rows, columns)} does not reduce both sides alike"
    if isinstance(module, _POOLS):
        return None
    if isinstance(module.padding, str):
        return None
    sides = zip(module.kernel_size, module.padding, module.dilation, strict=True)
    if type(module) is nn.Conv2d and any(2 * p != d * (k - 1) for k, p, d in sides):
        return f"its kernel {module.kernel_size} with padding {module.padding} would change the map's size at stride 1"
    return None


def _module_stack(node: fx.Node) -> list[tuple[str, type]]:
    """Return (qualified name, type) of the modules whose code made ``node``, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    return [(str(path), kind) for path, kind in stack.values()]


def _enclosing_block(traced: TracedModel, group: list[fx.Node]) -> str | None:
    """Return the innermost module around the operators that is a block of its own.

    A block holds convolutions besides the operators that shrink; a module that does not (convolution, norm and
    activation in one, say) is a layer. A sequence of layers is a block only around a depthwise operator, whose
    projection it holds, and only if nothing else in it shrinks.
    """
    depthwise = all(_is_depthwise(_module_of(traced, node)) for node in group)
    for path, kind in reversed(_module_stack(group[0])):
        if not path or path == group[0].target or not all(_inside(node, path) for node in group):
            continue
        others = [n for n in traced.module.graph.nodes if n not in group and _inside(n, path)]
        sequence = issubclass(kind, nn.Sequential)
        if sequence and (not depthwise or any(_shrinks(traced, n) for n in others)):
            continue
        if any(isinstance(_module_of(traced, n), nn.Conv2d) for n in others):
            return _without_inner_sequence(path, group[0], sequence)
    return None


def _without_inner_sequence(path: str, node: fx.Node, sequence: bool) -> str:
    """Name the block after the module that owns the sequence (``features.2`` rather than ``features.2.conv``)."""
    stack = [(outer, kind) for outer, kind in _module_stack(node) if outer]
    names = [outer for outer, _ in stack]
    index = names.index(path)
    owned = sequence and index > 0 and not issubclass(stack[index - 1][1], nn.Sequential)
    return names[index - 1] if owned else path


def _is_depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _strides(module: nn.Module | None) -> tuple[int, int]:
    """Return (rows, columns) of an operator's stride."""
    if not isinstance(module, (nn.Conv2d, *_POOLS)):
        return 1, 1
    stride = module.stride
    return (stride, stride) if isinstance(stride, int) else (stride[0], stride[1])


def _inside(node: fx.Node, block: str) -> bool:
    return any(path == block for path, _ in _module_stack(node))


def _end_of_block(meetings: list[fx.Node], block: str) -> fx.Node:
    """Return the last meeting point inside the block that still has the size the block reduced to."""
    inside = [node for node in meetings if _inside(node, block)]
    return inside[-1] if inside else meetings[0]


def _end_of_layer(traced: TracedModel, node: fx.Node) -> fx.Node:
    """Follow normalisation and activation behind an operator, and behind a depthwise one its pointwise partner too."""
    partner = _is_depthwise(_module_of(traced, node))
    while len(node.users) == 1:
        (user,) = node.users
        module = _module_of(traced, user)
        plain = module is None or isinstance(module, nn.modules.batchnorm._BatchNorm) or not list(module.parameters())
        pointwise = partner and isinstance(module, nn.Conv2d) and not _is_depthwise(module)
        single = len(user.all_input_nodes) == 1 and user.op != "output"
        same_map = traced.shapes.get(user.name, ())[2:] == traced.shapes[node.name][2:]
        if not ((plain or pointwise) and single and same_map):
            break
        partner = partner and not pointwise
        node = user
    return node
