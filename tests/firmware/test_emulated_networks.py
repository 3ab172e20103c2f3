"""Generated C on emulated cores against TFLM, bit for bit, on random small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.firmware.cores import find_core
from sapool.firmware.emulate import ProgramCalls, emulate_image
from sapool.firmware.generate import plan_program, write_source
from sapool.firmware.toolchain import compile_image
from sapool.tflite.graph import Graph
from sapool.tflite.read import read_graph
from sapool.tflite.write import write_graph
from tests.firmware.judge import Images, images_for, judge
from tests.firmware.random_networks import random_network

pytest.importorskip("unicorn")
CORES = dict.fromkeys(range(1000, 1010), "cortex-m4") | {1010: "m33", 1011: "m7", 1012: "m0plus", 1013: "riscv32"}
Judged = dict[int, tuple[Graph, Images, list[Images]]]


@pytest.fixture(scope="module")
def judged() -> Judged:
    graphs = [read_graph(write_graph(random_network(seed))) for seed in CORES]
    images = [images_for(graph, seed, 2) for seed, graph in zip(CORES, graphs, strict=True)]
    wanted = judge(graphs, images)
    return {seed: (graphs[n], images[n], wanted[n]) for n, seed in enumerate(CORES)}


@pytest.mark.parametrize("seed", CORES)
def test_bits_equal_tflm(judged: Judged, seed: int, tmp_path: Path) -> None:
    graph, images, wanted = judged[seed]
    planned = plan_program(graph, "net", CORES[seed])
    for name, text in write_source(planned).files.items():
        (tmp_path / name).write_text(text)
    roots = ("net_init", "net_row", "net_push", "net_output")
    image = compile_image([tmp_path / "net.c", tmp_path / "net_weights.c"], find_core(CORES[seed]), roots)
    first = graph.tensors[graph.outputs[0]].bytes
    calls = ProgramCalls("net", planned.facts.ram_bytes, first, images.shape[1])
    record = emulate_image(image, calls, images)
    for one, other in zip(record.outputs.view(np.uint8), wanted, strict=True):
        assert np.array_equal(one.ravel(), other[:first])
    assert record.ram_bytes == planned.facts.ram_bytes + record.stack_bytes
    assert planned.facts.stack_bytes - 64 <= record.stack_bytes <= planned.facts.stack_bytes
