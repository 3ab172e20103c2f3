from __future__ import annotations

import pytest

from sapool.memory.scratch import scratch_sizes
from sapool.tflite import read_graph
from tests.memory.handmade import build
from tests.memory.single_operators import everything

GRAPHS = everything()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("MEAN_int8_2_12", (5 * 4, 4 * 4, 2 * 4)),  # accumulators, a place in the input, axes
        ("SUM_int16_4_3", (81 * 4, 4 * 4, 4)),
        ("MEAN_float32_4_1", (4 * 4, 4)),
        ("REDUCE_MAX_int8_2_12", (4 * 4, 2 * 4)),
        ("transpose_conv_int8", (16 * 16 * 6 * 4,)),
        ("transpose_conv_int16", (16 * 16 * 6 * 8,)),
        ("transpose_conv_bias16", (16 * 16 * 6 * 8, 6 * 8)),
        ("transpose_conv_float32", ()),
        ("SVDF_int8", (6 * 4, 3 * 4)),
        ("SVDF_float32", (6 * 4,)),
        ("LSTM_int8", (5 * 2,) * 4),
        ("LSTM_float32", (5 * 4,) * 4),
        ("MIRROR_PAD_int8", (16, 16)),
        ("ADD_N_int8", (3 * 8,)),
        ("conv_int4", (6 * 3 * 3 * 4,)),
        ("conv_int8_6", ()),
        ("SOFTMAX_int8", ()),
        ("bmm_int8_00", ()),
        ("AVERAGE_POOL_2D_int8", ()),
    ],
)
def test_kernels_ask_for_what_their_sources_say(name: str, sizes: tuple[int, ...]) -> None:
    graph = read_graph(build(GRAPHS[name]))
    assert scratch_sizes(graph, graph.operators[0]) == sizes
