from __future__ import annotations

from tests.passes.tiling.networks import inverted_residuals, odd_sizes, pooled_branches, tiled


def test_given_offsets_read_the_same_from_the_list_and_from_a_graphs_own_part() -> None:
    """Runtimes differ in where they look up a subgraph's tensors."""
    for model in (inverted_residuals(), pooled_branches(), odd_sizes()):
        changed = tiled(model, "loop", 3, 2)
        offsets = changed.offline
        assert len(offsets) == sum(len(graph.tensors) for graph in changed.graphs)
        start = 0
        for graph in changed.graphs:
            computed = [t for t in range(len(graph.tensors)) if not graph.is_constant(t)]
            assert computed
            assert [offsets[t] for t in computed] == [offsets[start + t] for t in computed]
            assert all(t < len(changed.tensors) for t in computed)
            start += len(graph.tensors)
