"""int8 outputs: run by LiteRT's interpreter, and held against TensorFlow Lite Micro's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sapool.export.tflm import run_tflm
from sapool.optional import require
from sapool.tflite_file import load_tflite


@dataclass(frozen=True)
class Parity:
    """How far TFLM's int8 outputs are from LiteRT's: the largest difference, in int8 steps, over ``images`` images."""

    max_steps: int
    images: int


def _interpreter(data: bytes) -> Any:
    interpreter = require("ai_edge_litert.interpreter", "deploy", "running .tflite files")
    # LiteRT's reference kernels round as the micro-controller's do; its optimised ones differ by up to three steps.
    reference = interpreter.OpResolverType.BUILTIN_REF
    loaded = interpreter.Interpreter(model_content=data, experimental_op_resolver_type=reference, num_threads=1)
    loaded.allocate_tensors()
    return loaded


def quantize_images(data: bytes, images: Tensor) -> NDArray[Any]:
    """Return images (N, C, H, W) as the model's own input: channel-last, in its scale and type, (N, H, W, C)."""
    details = _interpreter(data).get_input_details()[0]
    channel_last = images.permute(0, 2, 3, 1).contiguous().numpy()
    if np.issubdtype(details["dtype"], np.floating):
        return channel_last.astype(details["dtype"])
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(channel_last / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def run_litert(data: bytes, images: Tensor) -> NDArray[Any]:
    """Run a ``.tflite`` on images (N, C, H, W) one by one; returns its raw outputs (N, classes), int8 if it is int8."""
    interpreter = _interpreter(data)
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in quantize_images(data, images):
        interpreter.set_tensor(place, image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result)[0])
    return np.stack(outputs)


def dequantized_scores(data: bytes, outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return raw outputs (N, classes) in real units."""
    scale, zero_point = _interpreter(data).get_output_details()[0]["quantization"]
    return outputs.astype(np.float32) if scale == 0 else ((outputs.astype(np.float32) - zero_point) * scale)


def check_parity(path: str | Path, images: Tensor) -> Parity:
    """Run a ``.tflite`` on TFLM and on LiteRT and compare.

    Args:
        path: the file.
        images: (N, C, H, W) float.

    Returns:
        The largest difference of any output.

    Raises:
        TfliteError: the file is no ``.tflite``.
        TflmError: the interpreter refuses it or dies.
    """
    data = load_tflite(path)
    expected = run_litert(data, images).astype(np.int32)
    got = run_tflm(path, quantize_images(data, images)).astype(np.int32)
    return Parity(int(np.abs(got.reshape(expected.shape) - expected).max()), len(images))
