"""int8 outputs: run by LiteRT's interpreter, and held against TensorFlow Lite Micro's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sapool import tflite
from sapool.export.runtime.interpreters import run_interpreter
from sapool.export.runtime.process import Engine
from sapool.tflite.ends import input_output


@dataclass(frozen=True)
class Parity:
    """How far TFLM's int8 outputs are from LiteRT's: the largest difference, in int8 steps, over ``images`` images."""

    max_steps: int
    images: int


def quantize_images(taken: tflite.Tensor, images: Tensor) -> NDArray[Any]:
    """Return images (N, C, H, W) as a model's own input: channel-last, in its scale and type, (N, H, W, C)."""
    channel_last = images.permute(0, 2, 3, 1).contiguous().numpy()
    if taken.scale == 0:
        return channel_last.astype(taken.dtype)
    limits = np.iinfo(taken.dtype)
    return np.clip(np.round(channel_last / taken.scale) + taken.zero_point, limits.min, limits.max).astype(taken.dtype)


def run_images(path: str | Path, images: Tensor, engine: Engine = "litert") -> NDArray[Any]:
    """Run a ``.tflite`` on images (N, C, H, W) one by one; returns its raw outputs (N, classes), int8 if it is int8.

    Raises:
        TfliteError: the file is no ``.tflite``.
        InterpreterError: the interpreter refuses it or dies.
    """
    taken, _ = input_output(tflite.read_graph(path))
    return run_interpreter(engine, path, quantize_images(taken, images))


def dequantize(made: tflite.Tensor, outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return raw outputs (N, classes) in real units."""
    values = outputs.astype(np.float32)
    return values if made.scale == 0 else (values - made.zero_point) * np.float32(made.scale)


def check_parity(path: str | Path, images: Tensor) -> Parity:
    """Run a ``.tflite`` on TFLM and on LiteRT and compare.

    Args:
        path: the file.
        images: (N, C, H, W) float.

    Returns:
        The largest difference of any output.

    Raises:
        TfliteError: the file is no ``.tflite``.
        InterpreterError: an interpreter refuses it or dies.
    """
    expected, got = (run_images(path, images, engine).astype(np.int32) for engine in ("litert", "tflm"))
    return Parity(int(np.abs(got.reshape(expected.shape) - expected).max()), len(images))
