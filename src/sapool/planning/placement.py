"""Where in the traced network the pool of a site goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx, nn

from sapool.base.records import DownsamplingSite
from sapool.networks.operators import module_of
from sapool.networks.traced import TracedModel
from sapool.planning.sites import block_of, is_closed, module_stack


@dataclass(frozen=True)
class Place:
    """A pool goes behind ``node``, seen by ``users`` only (all of its users where that is None)."""

    node: fx.Node
    channels: int
    users: tuple[fx.Node, ...] | None = None


def operator_nodes(traced: TracedModel, site: DownsamplingSite) -> list[fx.Node]:
    """Return the nodes of a site's operators, in their order."""
    nodes = traced.module.graph.nodes
    by_name = {(str(n.target) if n.op == "call_module" else n.name): n for n in nodes}
    return [by_name[name] for name in site.operators]


def places_of(traced: TracedModel, site: DownsamplingSite, placement: str) -> list[Place]:
    """Return where the pools of ``site`` go: one place, or one a path with ``in-place``.

    Raises:
        ValueError: torch.fx can't trace the network, and another placement than ``in-place`` is asked for.
    """
    if traced.untraceable and placement != "in-place":
        raise ValueError(
            f"placement {placement!r} needs a network that torch.fx can trace, and {type(traced.model).__name__} "
            "is none: choose in-place"
        )
    return PLACEMENTS[placement](traced, site)


def _place(traced: TracedModel, node: fx.Node, users: tuple[fx.Node, ...] | None = None) -> Place:
    return Place(node, traced.shapes[node.name][1], users)


def _node(traced: TracedModel, name: str) -> fx.Node:
    return next(node for node in traced.module.graph.nodes if node.name == name)


def _behind_the_block(traced: TracedModel, site: DownsamplingSite) -> list[Place]:
    return [_place(traced, _node(traced, site.exit))]


def _where_the_operators_are(traced: TracedModel, site: DownsamplingSite) -> list[Place]:
    return [_place(traced, node) for node in operator_nodes(traced, site)]


def _at_the_end_of_the_stage(traced: TracedModel, site: DownsamplingSite) -> list[Place]:
    """Behind the last block that every path passes, the maps up to there being of the size the site reduced to."""
    way_out = _node(traced, site.exit)
    ends = _block_ends(traced)
    after = _size(traced, way_out)
    kept = [node for node in traced.flow.post_dominators()[way_out] if _size(traced, node) == after]
    found = (node for node in reversed(kept) if node in ends and is_closed(traced, [way_out], node, site.before))
    return [_place(traced, next(found, way_out))]


def _size(traced: TracedModel, node: fx.Node) -> tuple[int, ...]:
    return traced.shapes.get(node.name, ())[2:]


def _block_ends(traced: TracedModel) -> set[fx.Node]:
    """Return the last node of every module that holds at least two convolutions and is no sequence of modules."""
    convs: dict[str, int] = {}
    last: dict[str, fx.Node] = {}
    for node in traced.module.graph.nodes:
        module = module_of(traced, node)
        if module is not None and sum(isinstance(m, nn.Conv2d) for m in module.modules()) > 1:
            convs[str(node.target)], last[str(node.target)] = 2, node  # a block that stays one node
        for path, kind in module_stack(node):
            if path and not issubclass(kind, nn.Sequential | nn.ModuleList) and path != node.target:
                convs[path] = convs.get(path, 0) + isinstance(module, nn.Conv2d)
                last[path] = node
    return {node for path, node in last.items() if convs[path] > 1}


def _at_the_start_of_the_group(traced: TracedModel, site: DownsamplingSite) -> list[Place]:
    """Before the block that shrinks, on the channels that enter it.

    Where there is no block, or something else than the operators takes the pooled map, right before the operators.
    """
    operators = operator_nodes(traced, site)
    block = block_of(traced, operators)

    def inside(node: fx.Node) -> bool:
        return node in operators if block is None else any(path == block for path, _ in module_stack(node))

    common = set.intersection(*(traced.flow.ancestors(node) for node in operators))
    order = list(traced.module.graph.nodes)
    before = (site.before[0], site.before[1])
    for entry in reversed([n for n in order if n in common and not inside(n) and _size(traced, n) == before]):
        users = tuple(user for user in entry.users if inside(user))
        if _leads_to(traced, entry, users, operators):
            return [_place(traced, entry, users)]
    sources = dict.fromkeys(operator.all_input_nodes[0] for operator in operators)
    return [_place(traced, s, tuple(user for user in s.users if user in operators)) for s in sources]


def _leads_to(traced: TracedModel, entry: fx.Node, users: tuple[fx.Node, ...], operators: list[fx.Node]) -> bool:
    """Whether what ``users`` make of a pooled ``entry`` goes to the operators alone, and meets nothing unpooled."""
    pooled, stack = set[fx.Node](), [user for user in users if user not in operators]
    while stack:
        node = stack.pop()
        if node.op == "output":
            return False
        if node not in pooled:
            pooled.add(node)
            stack.extend(user for user in node.users if user not in operators)

    def is_pooled(source: fx.Node, node: fx.Node) -> bool:
        return source in pooled or (source is entry and node in users) or _size(traced, source) != _size(traced, entry)

    return all(is_pooled(source, node) for node in (*pooled, *operators) for source in node.all_input_nodes)


PLACEMENTS: dict[str, Callable[[TracedModel, DownsamplingSite], list[Place]]] = {
    "block": _behind_the_block,
    "stage": _at_the_end_of_the_stage,
    "group-start": _at_the_start_of_the_group,
    "in-place": _where_the_operators_are,
}
