from __future__ import annotations

import json
from pathlib import Path

from sapool.memory import tail_bytes
from sapool.memory.persistent import firmware_tail_bytes
from sapool.tflite import read_graph
from tests.memory.control_flow import control_flow
from tests.memory.handmade import build
from tests.memory.test_persistent import GRAPHS

ALL = GRAPHS | {f"cf_{name}": read_graph(build(*graphs)) for name, graphs in control_flow().items()}


TAILS = Path(__file__).with_name("tails_on_wasm32.json")


def test_every_32_bit_tail_is_what_the_benchmark_program_measures() -> None:
    measured = json.loads(TAILS.read_text())["tails"]
    assert len(measured) >= 350
    predicted = {name: tail_bytes(graph, pointer_bytes=4) for name, graph in ALL.items() if name in measured}
    assert predicted == measured


def test_a_firmware_spares_what_was_measured_on_a_device() -> None:
    """2,128 bytes on an ESP32, whatever the model (mcufit 0.5.2); alignment may take 16 of them."""
    spared = {tail_bytes(graph, 4) - firmware_tail_bytes(graph) for name, graph in GRAPHS.items()}
    assert spared == {2112, 2128}
