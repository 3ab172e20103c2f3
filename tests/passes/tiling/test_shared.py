from __future__ import annotations

import numpy as np

from sapool.tflite import OFFLINE
from tests.passes.tiling.networks import inverted_residuals, odd_sizes, pooled_branches, tiled


def test_given_offsets_read_the_same_from_the_list_and_from_a_graphs_own_part() -> None:
    """Runtimes differ in where they look up a subgraph's tensors."""
    for model in (inverted_residuals(), pooled_branches(), odd_sizes()):
        changed = tiled(model, "loop", 3, 2)
        entry = next(e for e in changed.metadata if e.name == OFFLINE.encode())
        offsets = np.asarray(changed.buffers[entry.buffer].data).view(np.int32)[3:]
        assert len(offsets) == sum(len(graph.tensors) for graph in changed.graphs)
        start = 0
        for graph in changed.graphs:
            computed = [t for t, tensor in enumerate(graph.tensors) if changed.buffers[tensor.buffer].data is None]
            assert computed
            assert [offsets[t] for t in computed] == [offsets[start + t] for t in computed]
            assert all(t < len(changed.subgraphs[0].tensors) for t in computed)
            start += len(graph.tensors)
