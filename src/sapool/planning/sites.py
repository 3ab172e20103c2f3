"""Where, in execution order, a network reduces H x W."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch.nn.functional as F
from torch import fx, nn

from sapool.base.records import DownsamplingSite, UnsupportedSite
from sapool.networks.operators import Operator, inner_sites, map_sides, module_of, read_operator, samples
from sapool.networks.recorded import read_model, recorded_sites
from sapool.networks.traced import InputSize, Network, TracedModel

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d, nn.Upsample)
_POOL_FUNCTIONS = (F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.avg_pool2d, F.max_pool2d, F.interpolate)

Site = DownsamplingSite | UnsupportedSite


def find_downsampling(model: Network, input_size: InputSize) -> tuple[Site, ...]:
    """Find every place where ``model`` reduces its maps, in execution order.

    Args:
        model: any network, or its trace; where torch.fx can't trace its code, or part of it, a ``FallbackWarning`` says
            what is done instead.
        input_size: an int (square, 3 channels) or (C, H, W).

    Returns:
        A :class:`DownsamplingSite` for each place that can be re-planned, an :class:`UnsupportedSite` with the reason
        for each that can't. Global pooling (to 1 x 1, in the head or in squeeze-and-excitation) is no site.

    Raises:
        ValueError: no module, or a size it can't take.
    """
    return find_sites(read_model(model, input_size))


def find_sites(traced: TracedModel) -> tuple[Site, ...]:
    """Find the sites of an already traced model: see :func:`find_downsampling`."""
    if traced.untraceable:
        return recorded_sites(traced)
    later = traced.flow.post_dominators()
    found = [site for group in _group(traced) for site in _describe(traced, group, later)]
    names = Counter(site.name for site in found if isinstance(site, DownsamplingSite))
    return tuple(
        replace(site, name=site.operators[0]) if isinstance(site, DownsamplingSite) and names[site.name] > 1 else site
        for site in found
    )


def _group(traced: TracedModel) -> list[list[fx.Node]]:
    """Gather the operators that take parallel paths from one map size to the next."""
    groups: list[list[fx.Node]] = []
    for node in traced.module.graph.nodes:
        if not samples(traced, node):
            groups += [[node]] if inner_sites(traced, node) else []
            continue
        if (
            groups
            and _sizes(traced, groups[-1][0]) == _sizes(traced, node)
            and not traced.flow.reaches(groups[-1][0], node)
        ):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _sizes(traced: TracedModel, node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sides = map_sides(traced, node)
    return ((), ()) if sides is None else (sides[0][2:], sides[1][2:])


def _describe(traced: TracedModel, group: list[fx.Node], later: dict[fx.Node, list[fx.Node]]) -> tuple[Site, ...]:
    group = [node for node in group if node in later]
    if not group:
        return ()
    inner = inner_sites(traced, group[0])
    if inner and len(group) == 1:
        return inner
    names = tuple(_name(node) for node in group)
    read = [read_operator(traced, node) for node in group]
    refusals = [operator for operator in read if isinstance(operator, str)]
    if refusals:
        return (UnsupportedSite(names[0], refusals[0]),)
    operators = [operator for operator in read if isinstance(operator, Operator)]
    after = _sizes(traced, group[0])[1]
    common = set(later[group[0]]).intersection(*(later[node] for node in group[1:]))
    meetings = [node for node in later[group[0]] if node in common and traced.shapes.get(node.name, ())[2:] == after]
    block = block_of(traced, group)
    way_out = meetings[0] if meetings else group[0]
    if meetings:
        way_out = _end_of_block(meetings, block) if block else _end_of_layer(traced, meetings[0])
    if not meetings or not is_closed(traced, group, way_out, _sizes(traced, group[0])[0]):
        if len(group) > 1:
            # Branches of several resolutions, which go on side by side: each is a place of its own.
            return tuple(site for node in group for site in _describe(traced, [node], later))
        block, way_out = None, _end_of_layer(traced, group[0])
    (_, channels, *before) = (map_sides(traced, group[0]) or ((0, 0, 0, 0), ()))[0]
    site = DownsamplingSite(
        name=block or names[0],
        before=(before[0], before[1]),
        after=(after[0], after[1]),
        in_channels=channels,
        out_channels=traced.shapes[way_out.name][1],
        operators=names,
        exit=way_out.name,
        reduction=operators[0].stride,
    )
    return (site,)


def is_closed(traced: TracedModel, starts: Sequence[fx.Node], end: fx.Node, before: tuple[int, ...]) -> bool:
    """Whether on the way to ``end`` nothing of its size joins, unpooled as it would be, or is enlarged again.

    Args:
        traced: the network.
        starts: where the ways begin: nodes after which the map is as large as at ``end``.
        end: a node that every way passes.
        before: (H, W) of the map that shrank.
    """
    inside, after = set(starts), traced.shapes[end.name][2:]
    for node in traced.module.graph.nodes:
        sources = node.all_input_nodes
        if node in inside or not any(source in inside for source in sources):
            continue
        joins = [source for source in sources if traced.shapes.get(source.name, ())[2:] == after]
        if any(source not in inside for source in joins) or traced.shapes.get(node.name, ())[2:] == before:
            return False
        inside.add(node)
        if node is end:
            break
    return True


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def module_stack(node: fx.Node) -> list[tuple[str, type]]:
    """Return (qualified name, type) of the modules whose code made ``node``, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    return [(str(path), kind) for path, kind in stack.values()]


def block_of(traced: TracedModel, group: list[fx.Node]) -> str | None:
    """Return the innermost module around the operators that is a block of its own.

    A block holds convolutions besides the operators that shrink; a module that does not (convolution, norm and
    activation in one, say) is a layer. A sequence of layers is a block only around a depthwise operator, whose
    projection it holds, and only if nothing else in it shrinks.
    """
    depthwise = all(_is_depthwise(module_of(traced, node)) for node in group)
    for path, kind in reversed(module_stack(group[0])):
        if not path or path == group[0].target or not all(_inside(node, path) for node in group):
            continue
        others = [n for n in traced.module.graph.nodes if n not in group and _inside(n, path)]
        sequence = issubclass(kind, nn.Sequential)
        if sequence and (not depthwise or any(samples(traced, n) for n in others)):
            continue
        if _is_stage(traced, path, group):
            return None
        if any(isinstance(module_of(traced, n), nn.Conv2d) for n in others):
            return _without_inner_sequence(path, group[0], sequence)
    return None


def _is_stage(traced: TracedModel, path: str, group: list[fx.Node]) -> bool:
    """Whether the module holds a sequence of whole blocks besides the operators that shrink."""
    convs: dict[str, int] = {}
    for node in traced.module.graph.nodes:
        side = traced.shapes.get(node.name, ())[2:]
        if not isinstance(module_of(traced, node), nn.Conv2d) or max(side, default=1) == 1:
            continue  # squeeze-and-excitation is no block
        stack = module_stack(node)
        for (outer, kind), (inner, inner_kind) in pairwise(stack):
            listed = issubclass(kind, nn.Sequential | nn.ModuleList) or inner.removeprefix(outer + ".").count(".") > 0
            is_block = not issubclass(inner_kind, nn.Sequential) and inner != node.target
            if listed and is_block and _below(outer, path) and not any(_inside(n, inner) for n in group):
                convs[inner] = convs.get(inner, 0) + 1
    return any(count > 1 for count in convs.values())


def _below(path: str, outer: str) -> bool:
    return path == outer or path.startswith(outer + ".")


def _without_inner_sequence(path: str, node: fx.Node, sequence: bool) -> str:
    """Name the block after the module that owns the sequence (``features.2`` rather than ``features.2.conv``)."""
    stack = [(outer, kind) for outer, kind in module_stack(node) if outer]
    names = [outer for outer, _ in stack]
    index = names.index(path)
    owned = sequence and index > 0 and not issubclass(stack[index - 1][1], nn.Sequential)
    return names[index - 1] if owned else path


def _is_depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _inside(node: fx.Node, block: str) -> bool:
    return any(path == block for path, _ in module_stack(node))


def _end_of_block(meetings: list[fx.Node], block: str) -> fx.Node:
    """Return the last meeting point inside the block that still has the size the block reduced to."""
    inside = [node for node in meetings if _inside(node, block)]
    return inside[-1] if inside else meetings[0]


def _end_of_layer(traced: TracedModel, node: fx.Node) -> fx.Node:
    """Follow normalisation and activation behind an operator, and behind a depthwise one its pointwise partner too."""
    partner = _is_depthwise(module_of(traced, node))
    while len(node.users) == 1:
        (user,) = node.users
        module = module_of(traced, user)
        plain = module is None or isinstance(module, nn.modules.batchnorm._BatchNorm) or not list(module.parameters())
        pointwise = partner and isinstance(module, nn.Conv2d) and not _is_depthwise(module)
        plain = plain and not isinstance(module, _POOLS) and user.target not in _POOL_FUNCTIONS
        single = len(user.all_input_nodes) == 1 and user.op != "output"
        same_map = traced.shapes.get(user.name, ())[2:] == traced.shapes[node.name][2:]
        if not ((plain or pointwise) and single and same_map):
            break
        partner = partner and not pointwise
        node = user
    return node
