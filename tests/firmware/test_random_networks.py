"""Generated C against TFLM on random small networks, bit for bit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sapool.tflite.graph import Graph
from tests.firmware.judge import Images, images_for, judge, run_c
from tests.firmware.random_networks import random_network

# SAPOOL_RANDOM_NETWORKS=1000 tries a thousand.
SEEDS = range(int(os.environ.get("SAPOOL_RANDOM_NETWORKS", "40")))
Judged = dict[int, tuple[Graph, Images, list[Images]]]


@pytest.fixture(scope="module")
def judged() -> Judged:
    graphs = [random_network(seed) for seed in SEEDS]
    images = [images_for(graph, seed) for seed, graph in zip(SEEDS, graphs, strict=True)]
    wanted = judge(graphs, images)
    return {seed: (graphs[n], images[n], wanted[n]) for n, seed in enumerate(SEEDS)}


@pytest.mark.parametrize("seed", SEEDS)
def test_bits_equal_tflm(judged: Judged, seed: int, tmp_path: Path) -> None:
    graph, images, wanted = judged[seed]
    got = run_c(graph, images, tmp_path, stream=seed % 4 != 3)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
