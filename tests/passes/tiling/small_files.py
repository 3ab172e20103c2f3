"""Small int8 ``.tflite`` files made operator by operator, with random weights: no converter needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.export.runtime.interpreters import run_interpreter
from sapool.tflite.building import add_constant, add_tensor
from sapool.tflite.file import pack, schema

SAME, VALID = 0, 1
LINEAR, RELU = 0, 1
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "CONCATENATION": "ConcatenationOptions",
}


class SmallFile:
    """Builds a main graph; every method adds an operator and returns the tensor that it makes."""

    def __init__(self, height: int, width: int, channels: int = 3, seed: int = 0) -> None:
        fb = schema()
        self.dice = np.random.default_rng(seed)
        self.model = fb.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [fb.BufferT()], []
        self.graph = fb.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.input = self.tensor((1, height, width, channels), 0.02, -5)
        self.graph.inputs = [self.input]

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.graph.tensors[tensor].shape)

    def quantized(self, scale: Any, zero_point: Any, axis: int = 0, kind: str = "INT8") -> Any:
        """A tensor that is only there to be copied from: its type and quantisation."""
        fb = schema()
        tensor = fb.TensorT()
        tensor.type = getattr(fb.TensorType, kind)
        tensor.quantization = fb.QuantizationParametersT()
        tensor.quantization.scale = np.atleast_1d(np.float32(scale))
        tensor.quantization.zeroPoint = np.atleast_1d(np.int64(zero_point))
        tensor.quantization.quantizedDimension = axis
        return tensor

    def tensor(self, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        name = f"t{len(self.graph.tensors)}"
        return add_tensor(self.graph, shape, name, like=self.quantized(scale, zero_point))

    def add(self, kind: str, inputs: list[int], made: int, **options: Any) -> int:
        fb = schema()
        op, code = fb.OperatorT(), fb.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(fb.BuiltinOperator, kind)
        code.version = 1
        self.model.operatorCodes.append(code)
        op.opcodeIndex, op.inputs, op.outputs = len(self.model.operatorCodes) - 1, inputs, [made]
        if kind in _OPTIONS:
            op.builtinOptionsType = getattr(fb.BuiltinOptions, _OPTIONS[kind])
            op.builtinOptions = getattr(fb, f"{_OPTIONS[kind]}T")()
            for name, value in options.items():
                setattr(op.builtinOptions, name, value)
        self.graph.operators.append(op)
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
        weights = self._constant(values, self.quantized(scales, np.zeros(out), 3 if depthwise else 0))
        scale = float(self.graph.tensors[x].quantization.scale[0])
        bias = self.dice.integers(-200, 200, out).astype(np.int32)
        biases = self._constant(bias, self.quantized(scales * scale, np.zeros(out), 0, "INT32"))
        size = self._size(x, kernel, stride, padding, dilation)
        made = self.tensor((1, *size, out), 0.02, -128 if act else 7)
        options: dict[str, Any] = {"padding": padding, "strideH": stride, "strideW": stride}
        options |= {"dilationHFactor": dilation, "dilationWFactor": dilation, "fusedActivationFunction": act}
        if depthwise:
            options["depthMultiplier"] = 1
        return self.add("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, weights, biases], made, **options)

    def _constant(self, values: NDArray[Any], like: Any) -> int:
        return add_constant(self.model, self.graph, values, f"c{len(self.graph.tensors)}", like)

    def like(self, x: int, shape: tuple[int, ...]) -> int:
        return add_tensor(self.graph, shape, f"t{len(self.graph.tensors)}", like=self.graph.tensors[x])

    def pool(self, x: int, kernel: int, stride: int, padding: int = VALID, kind: str = "AVERAGE_POOL_2D") -> int:
        made = self.like(x, (1, *self._size(x, kernel, stride, padding), self.shape(x)[3]))
        sides = {"filterHeight": kernel, "filterWidth": kernel, "strideH": stride, "strideW": stride}
        return self.add(kind, [x], made, padding=padding, **sides)

    def pad(self, x: int, before: int, after: int) -> int:
        _, height, width, channels = self.shape(x)
        pads = np.array([[0, 0], [before, after], [before, after], [0, 0]], np.int32)
        made = self.like(x, (1, height + before + after, width + before + after, channels))
        return self.add("PAD", [x, add_constant(self.model, self.graph, pads, "pads")], made)

    def join(self, kind: str, x: int, y: int) -> int:
        return self.add(kind, [x, y], self.tensor(self.shape(x), 0.03, 11))

    def scale_channels(self, x: int) -> int:
        values = self.dice.integers(-127, 128, (1, 1, 1, self.shape(x)[3])).astype(np.int8)
        return self.add(
            "MUL", [x, self._constant(values, self.quantized(0.01, 0))], self.tensor(self.shape(x), 0.02, 3)
        )

    def unary(self, kind: str, x: int, scale: float, zero_point: int) -> int:
        return self.add(kind, [x], self.tensor(self.shape(x), scale, zero_point))

    def concatenate(self, x: int, y: int) -> int:
        made = self.like(x, (*self.shape(x)[:3], self.shape(x)[3] + self.shape(y)[3]))
        return self.add("CONCATENATION", [x, y], made, axis=3)

    def finish(self, output: int) -> Any:
        self.graph.outputs = [output]
        return self.model


def random_images(model: Any, count: int = 2) -> NDArray[np.int8]:
    shape = [int(n) for n in model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape]
    return np.random.default_rng(1).integers(-128, 128, (count, *shape[1:])).astype(np.int8)


def run_both(model: Any, path: Path) -> list[NDArray[Any]]:
    """What TFLM and LiteRT make of a model."""
    path.write_bytes(pack(model))
    images = random_images(model)
    return [run_interpreter(engine, path, images) for engine in ("tflm", "litert")]
