"""TFLM's own outputs for many small networks, from one process of its own, and a C program's beside them."""

from __future__ import annotations

import ctypes
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.generate import plan_program, write_source
from sapool.tflite.graph import Graph
from sapool.tflite.read import read_graph
from sapool.tflite.write import write_graph

FLAGS = ("-O1", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror", "-shared", "-fPIC")
Images = NDArray[Any]


def images_for(graph: Graph, seed: int, count: int = 3) -> Images:
    """Return random raw images (count, H, W, C)."""
    taken = graph.tensors[graph.inputs[0]]
    info = np.iinfo(taken.dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, (count, *taken.shape[1:])).astype(taken.dtype)


def judge(graphs: Sequence[Graph], images: Sequence[Images]) -> list[list[Images]]:
    """Return TFLM's outputs: for every network and image, all outputs end to end as bytes."""
    jobs = [(write_graph(graph), given) for graph, given in zip(graphs, images, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        taken, made = Path(folder) / "jobs", Path(folder) / "outputs"
        taken.write_bytes(pickle.dumps(jobs))
        done = subprocess.run(
            [sys.executable, __file__, str(taken), str(made)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-800:]
        return list(pickle.loads(made.read_bytes()))


def run_c(graph: Graph, images: Images, folder: Path, *, stream: bool = True) -> list[Images]:
    """Return the outputs of the generated C, all end to end, compiled without a warning for this machine."""
    source = write_source(plan_program(read_graph(write_graph(graph)), "net", "host", stream=stream))
    for name, text in source.files.items():
        (folder / name).write_text(text)
    library = folder / "net.so"
    files = [str(folder / "net.c"), str(folder / "net_weights.c")]
    done = subprocess.run(
        ["gcc", *FLAGS, "-I", str(folder), "-o", str(library), *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-800:]
    program, header = ctypes.CDLL(str(library)), (folder / "net.h").read_text()
    ram = int(re.findall(r"NET_RAM_BYTES (\d+)", header)[0])
    state = ctypes.create_string_buffer(ram + 64)
    program.net_output.restype = ctypes.c_void_p
    results = []
    for image in images:
        state.raw = b"\xa5" * (ram + 64)
        program.net_run(state, image.tobytes())
        assert state.raw[ram:] == b"\xa5" * 64, "written behind the state"
        made = b""
        for n, place in enumerate(graph.outputs):
            made += ctypes.string_at(program.net_output(state, n), graph.tensors[place].bytes)
        results.append(np.frombuffer(made, np.uint8))
    return results


def main() -> None:
    """Run every job of a file through TFLM and write the outputs to another."""
    from tflite_micro import runtime

    results = []
    for data, images in pickle.loads(Path(sys.argv[1]).read_bytes()):
        interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 22)
        outputs = []
        for image in images:
            interpreter.set_input(image[None], 0)
            interpreter.invoke()
            count = len(read_graph(data).outputs)
            made = b"".join(interpreter.get_output(n).tobytes() for n in range(count))
            outputs.append(np.frombuffer(made, np.uint8))
        results.append(outputs)
    Path(sys.argv[2]).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main()
