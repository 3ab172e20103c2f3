"""Which way tensors take through a traced graph."""

from __future__ import annotations

import networkx as nx
from torch import fx


class Flow:
    """The nodes of a graph as it is now, an edge from each to every node that uses its result."""

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = nx.DiGraph()
        self._graph.add_nodes_from(graph.nodes)
        self._graph.add_edges_from((node, user) for node in graph.nodes for user in node.users)
        self._output = next(node for node in reversed(graph.nodes) if node.op == "output")

    def reaches(self, start: fx.Node, goal: fx.Node) -> bool:
        """Whether a path leads from one node to the other."""
        return start is not goal and bool(nx.has_path(self._graph, start, goal))

    def ancestors(self, node: fx.Node) -> set[fx.Node]:
        """Return all nodes from which a path leads to ``node``."""
        return set(nx.ancestors(self._graph, node))

    def post_dominators(self) -> dict[fx.Node, list[fx.Node]]:
        """Map each node to the nodes that every path from it to the output passes, nearest first, itself included.

        Paths that end nowhere (results that nothing uses) are no paths: a node with no other is left out.
        """
        nearest = nx.immediate_dominators(self._graph.reverse(copy=False), self._output)
        chains = {self._output: [self._output]}
        for node in reversed(list(self._graph)):  # what uses a node stands behind it
            if node in nearest and node is not self._output:
                chains[node] = [node, *chains[nearest[node]]]
        return chains
