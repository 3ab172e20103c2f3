"""The C engine from a network or a file, with the interpreter as the judge of its bits."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sapool.export.litert import export_int8
from sapool.export.runtime.inputs import inputs_of, one_image_a_run
from sapool.export.runtime.interpreters import InterpreterError, run_model
from sapool.firmware.extras import Pixels
from sapool.firmware.program import BuildError, BuildRequest, CProgram, write_program
from sapool.firmware.rows import UnsupportedError
from sapool.passes import FLAT_PASSES, PASSES, flattened
from sapool.tflite.read import read_graph

# Streaming rows needs no tiles, chunks, order or plan of TFLM's.
C_PASSES = (*PASSES, *FLAT_PASSES)


def build_c(
    model_or_path: nn.Module | str | Path,
    folder: str | Path,
    *,
    name: str = "model",
    core: str = "cortex-m4",
    stream_input: bool = True,
    recompute: float = 0.0,
    labels: Sequence[str] = (),
    calibration: Iterable[Tensor] = (),
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    project: str = "cmake",
) -> CProgram:
    """Write an int8 network as C files that stream rows and need no interpreter.

    Args:
        model_or_path: the path of an int8 ``.tflite`` of any origin, or a network, which is quantised first.
        folder: where to; made if it is not there.
        name: of the program, a C identifier: ``model_t``, ``model_push``, ...
        core: ``cortex-m4``, ``m7``, ``m33``, ``m55``, ``m0plus``, ``riscv32`` or ``host``.
        stream_input: take the image a row at a time; otherwise it is kept whole in the program's RAM.
        recompute: share of multiply-accumulates that may be done twice to need less RAM; only 0 is known.
        labels: names of the classes.
        calibration: typical images (N, C, H, W) float, for a network.
        mean: subtracted from pixels / 255 in ``model_push_rgb888`` and its like, one or a channel each.
        std: divided by after that.
        project: whose build file is written: ``cmake``, ``arduino``, ``esp-idf`` or ``zephyr``.

    Returns:
        The program: its files and what it needs.

    Raises:
        BuildError: a name, labels or a folder that can't be used.
        UnsupportedError: an operator that the C engine does not have; the message names it.
        TfliteError: no ``.tflite``.

    Example:
        ``sapool.build_c("model.tflite", "firmware", core="cortex-m4").ram_bytes``
    """
    if recompute:
        raise BuildError(f"recompute must be 0: nothing is computed twice yet, got {recompute}")
    request = BuildRequest(name, core, stream_input, tuple(labels), Pixels(tuple(mean), tuple(std)), project)
    if not isinstance(model_or_path, nn.Module):
        return _write(Path(model_or_path), folder, request)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "model.tflite"
        export_int8(model_or_path, calibration, path, passes=C_PASSES)
        return _write(path, folder, request)


def build_beside(
    flat: Path, folder: Path, *, name: str = "model", labels: Sequence[str] = (), pixels: Pixels | None = None
) -> CProgram | str:
    """Write the C files of an export without tiles, where the C engine has its operators.

    Args:
        flat: what :func:`export_int8` wrote to its ``flat_path``.
        folder: where to.
        name: any text; what is no C identifier is made one.
        labels: names of the classes; left out where C can't hold them.
        pixels: how 8-bit pixels become the network's input.

    Returns:
        The program, or why there is none.
    """
    request = BuildRequest(name=as_identifier(name), pixels=pixels or Pixels())
    try:
        try:
            return _write(flat, folder, replace(request, labels=tuple(labels)))
        except BuildError:
            return _write(flat, folder, request)
    except UnsupportedError as error:
        return str(error)


def as_identifier(text: str) -> str:
    """Return a name that C takes, made of any text."""
    kept = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return kept if kept[:1].isalpha() and not kept.startswith("sapool") else f"net_{kept}"


def _write(path: Path, folder: str | Path, request: BuildRequest) -> CProgram:
    graph = flattened(read_graph(path))

    def judge(images: NDArray[Any]) -> list[NDArray[np.uint8]]:
        return _right_outputs(path, images)

    return write_program(graph, folder, request, judge)


def _right_outputs(path: Path, images: NDArray[Any]) -> list[NDArray[np.uint8]]:
    """Return TFLM's outputs as bytes (N, n), one an output of the network; LiteRT's where TFLM refuses the file."""
    data = path.read_bytes()
    given = one_image_a_run(inputs_of(data)[0], images)
    try:
        outcome = run_model(str(path), data, [given], "tflm")
    except InterpreterError:
        outcome = run_model(str(path), data, [given], "litert")
    return [np.ascontiguousarray(one).reshape(len(images), -1).view(np.uint8) for one in outcome.outputs]
