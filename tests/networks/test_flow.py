from __future__ import annotations

from itertools import pairwise

import pytest
from torch import fx

from sapool.networks.flow import Flow

# Node -> what uses it: a fork that meets at "e", one that goes on beside it, and a result that nothing uses.
USERS = {"x": "abd", "a": "c", "b": "c", "c": "e", "d": "eu", "u": "", "e": "fg", "f": "h", "g": "h", "h": ""}


def passed_on(*args: object) -> object:
    return args[0]


@pytest.fixture
def graph() -> fx.Graph:
    graph, nodes = fx.Graph(), dict[str, fx.Node]()
    for name in USERS:
        sources = tuple(nodes[other] for other in nodes if name in USERS[other])
        nodes[name] = graph.placeholder(name) if name == "x" else graph.call_function(passed_on, sources)
        nodes[name].name = name
    graph.output(nodes["h"])
    return graph


def paths(node: fx.Node) -> list[list[fx.Node]]:
    """List every path from a node to where it ends."""
    return [[node, *path] for user in node.users for path in paths(user)] or [[node]]


def test_what_every_path_to_the_output_passes(graph: fx.Graph) -> None:
    order = list(graph.nodes)
    chains = Flow(graph).post_dominators()
    for node in order:
        whole = [path for path in paths(node) if path[-1].op == "output"]
        common = set(whole[0]).intersection(*whole) if whole else set()
        assert chains.get(node, []) == [other for other in order if other in common], node.name
    assert [node.name for node in chains[order[0]]] == ["x", "e", "h", "output"]


def test_reaching_and_ancestors_are_paths(graph: fx.Graph) -> None:
    flow, nodes = Flow(graph), list(graph.nodes)
    for start in nodes:
        for goal in nodes:
            behind = any(goal in path[1:] for path in paths(start))
            assert flow.reaches(start, goal) == behind
            assert (start in flow.ancestors(goal)) == behind


def test_a_chain_of_thousands_is_no_deeper_than_python_can() -> None:
    graph = fx.Graph()
    last = graph.placeholder("x")
    for _ in range(3000):
        last = graph.call_function(passed_on, (last,))
    graph.output(last)
    nodes = list(graph.nodes)
    chains = Flow(graph).post_dominators()
    assert all(chains[a][1] is b for a, b in pairwise(nodes))
