"""Generated C on this machine: under the sanitizers, and as C++ without a warning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sapool.firmware.generate import plan_program, write_source
from sapool.firmware.host import run_on_host
from sapool.firmware.toolchain import WARNINGS
from sapool.tflite.read import read_graph
from sapool.tflite.write import write_graph
from tests.firmware.judge import Images, images_for
from tests.firmware.random_networks import random_network


def written(seed: int, folder: Path) -> tuple[list[Path], Images]:
    graph = read_graph(write_graph(random_network(seed)))
    for name, text in write_source(plan_program(graph, "net", "cortex-m4")).files.items():
        (folder / name).write_text(text)
    return [folder / "net.c", folder / "net_weights.c"], images_for(graph, seed, 2)


@pytest.mark.parametrize("seed", range(1100, 1108))
@pytest.mark.skipif(not shutil.which("gcc"), reason="the sanitizers are gcc's")
def test_the_sanitizers_have_nothing_to_say(seed: int, tmp_path: Path) -> None:
    sources, images = written(seed, tmp_path)
    checked = run_on_host(sources, "net", images, sanitize=True, flags=WARNINGS)
    as_cpp = run_on_host(sources, "net", images, flags=[f for f in WARNINGS if f != "-std=c99"], language="c++")
    assert np.array_equal(checked.outputs, as_cpp.outputs)
