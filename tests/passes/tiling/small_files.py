"""Small int8 ``.tflite`` files made operator by operator, with random weights: no converter needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.export.runtime.interpreters import run_interpreter
from sapool.tflite import Graph, Quantization, Tensor, write_graph
from sapool.tflite.edit import make_operator

SAME, VALID = 0, 1
LINEAR, RELU = 0, 1


def quantized(scale: Any, zero_point: Any = 0, axis: int = 0) -> Quantization:
    scales, zeros = np.atleast_1d(np.float32(scale)), np.atleast_1d(np.int64(zero_point))
    return Quantization(tuple(float(s) for s in scales), tuple(int(z) for z in zeros), axis)


class SmallFile:
    """Builds a main graph; every method adds an operator and returns the tensor that it makes."""

    def __init__(self, height: int, width: int, channels: int = 3, seed: int = 0) -> None:
        self.dice = np.random.default_rng(seed)
        self.graph = Graph()
        self.input = self.tensor((1, height, width, channels), 0.02, -5)
        self.graph.set_inputs([self.input])

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.graph.tensors[tensor].shape

    def tensor(self, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        name = f"t{len(self.graph.tensors)}"
        return self.graph.add_tensor(Tensor(name, shape, quantization=quantized(scale, zero_point)))

    def add(self, kind: str, inputs: list[int], made: int, **options: Any) -> int:
        self.graph.insert(len(self.graph.operators), make_operator(kind, inputs, [made], **options))
        return made

    def _size(self, x: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> tuple[int, ...]:
        extent = (kernel - 1) * dilation + 1
        sides = self.shape(x)[1:3]
        return tuple(-(-n // stride) if padding == SAME else (n - extent) // stride + 1 for n in sides)

    def conv(
        self, x: int, out: int, kernel: int, stride: int = 1, padding: int = SAME, *,
        dilation: int = 1, depthwise: bool = False, act: int = RELU, zero_edge: bool = False,
    ) -> int:  # fmt: skip
        channels = self.shape(x)[3]
        out = channels if depthwise else out
        shape = (1, kernel, kernel, out) if depthwise else (out, kernel, kernel, channels)
        values = self.dice.integers(-127, 128, shape).astype(np.int8)
        if zero_edge:  # as folded padding leaves it
            values[:, -1], values[:, :, -1] = 0, 0
        fan = kernel * kernel * (1 if depthwise else channels)
        scales = self.dice.uniform(0.5, 1.5, out) / (60 * fan**0.5)
        weights = self.constant(values, quantized(scales, np.zeros(out), 3 if depthwise else 0))
        scale = self.graph.tensors[x].scale
        bias = self.dice.integers(-200, 200, out).astype(np.int32)
        biases = self.constant(bias, quantized(scales * scale, np.zeros(out)))
        size = self._size(x, kernel, stride, padding, dilation)
        made = self.tensor((1, *size, out), 0.02, -128 if act else 7)
        options: dict[str, Any] = {"padding": padding, "strideH": stride, "strideW": stride}
        options |= {"dilationHFactor": dilation, "dilationWFactor": dilation, "fusedActivationFunction": act}
        if depthwise:
            options["depthMultiplier"] = 1
        return self.add("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, weights, biases], made, **options)

    def constant(self, values: NDArray[Any], quantization: Quantization | None = None) -> int:
        return self.graph.add_constant(values, f"c{len(self.graph.tensors)}", quantization)

    def like(self, x: int, shape: tuple[int, ...]) -> int:
        return self.graph.add_like(x, shape, f"t{len(self.graph.tensors)}")

    def pool(self, x: int, kernel: int, stride: int, padding: int = VALID, kind: str = "AVERAGE_POOL_2D") -> int:
        made = self.like(x, (1, *self._size(x, kernel, stride, padding), self.shape(x)[3]))
        sides = {"filterHeight": kernel, "filterWidth": kernel, "strideH": stride, "strideW": stride}
        return self.add(kind, [x], made, padding=padding, **sides)

    def pad(self, x: int, before: int, after: int) -> int:
        _, height, width, channels = self.shape(x)
        pads = np.array([[0, 0], [before, after], [before, after], [0, 0]], np.int32)
        made = self.like(x, (1, height + before + after, width + before + after, channels))
        return self.add("PAD", [x, self.constant(pads)], made)

    def join(self, kind: str, x: int, y: int) -> int:
        return self.add(kind, [x, y], self.tensor(self.shape(x), 0.03, 11))

    def scale_channels(self, x: int) -> int:
        values = self.dice.integers(-127, 128, (1, 1, 1, self.shape(x)[3])).astype(np.int8)
        return self.add("MUL", [x, self.constant(values, quantized(0.01))], self.tensor(self.shape(x), 0.02, 3))

    def unary(self, kind: str, x: int, scale: float, zero_point: int) -> int:
        return self.add(kind, [x], self.tensor(self.shape(x), scale, zero_point))

    def concatenate(self, x: int, y: int) -> int:
        made = self.like(x, (*self.shape(x)[:3], self.shape(x)[3] + self.shape(y)[3]))
        return self.add("CONCATENATION", [x, y], made, axis=3)

    def finish(self, output: int) -> Graph:
        self.graph.set_outputs([output])
        return self.graph


def random_images(graph: Graph, count: int = 2) -> NDArray[np.int8]:
    shape = graph.tensors[graph.inputs[0]].shape
    return np.random.default_rng(1).integers(-128, 128, (count, *shape[1:])).astype(np.int8)


def run_both(graph: Graph, path: Path) -> list[NDArray[Any]]:
    """What TFLM and LiteRT make of a model."""
    path.write_bytes(write_graph(graph))
    images = random_images(graph)
    return [run_interpreter(engine, path, images) for engine in ("tflm", "litert")]
