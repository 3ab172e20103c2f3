"""Whether a graph keeps the rules that everything which reads one relies on."""

from __future__ import annotations

from sapool.tflite.errors import TfliteError
from sapool.tflite.graph import Graph


def verify(graph: Graph) -> None:
    """Check a main graph and all that it runs.

    Raises:
        TfliteError: a rule is broken; one line that names the operator, its place and the tensor.
    """
    for one in graph.graphs:
        for place in sorted(one.used()):
            if not 0 <= place < len(one.tensors):
                raise TfliteError(f"a damaged .tflite file: it uses tensor {place} of a graph with {len(one.tensors)}")
    _check_calls(graph.graphs, 0, ())
    _ = graph.offline


def _check_calls(graphs: tuple[Graph, ...], index: int, above: tuple[int, ...]) -> None:
    """Check that control flow names graphs of the file, and that none runs itself."""
    for operator in graphs[index].operators:
        for called in operator.called:
            if not 0 <= called < len(graphs):
                raise TfliteError(f"{operator.kind} runs graph {called} of a file with {len(graphs)}")
            if called in (*above, index):
                raise TfliteError(f"{operator.kind} of graph {index} runs graph {called}, which it is part of")
            _check_calls(graphs, called, (*above, index))
