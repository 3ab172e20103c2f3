"""Small random int8 networks, built operator by operator: shapes, strides, paddings, residuals, branches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sapool.tflite.graph import Graph, Operator, Quantization, Tensor
from sapool.tflite.options import Options, OptionValue


class Maker:
    """A graph that grows by random operators.

    Attributes:
        rng: where all chance comes from.
        graph: what was made so far.
    """

    def __init__(self, seed: int) -> None:
        self.rng: Generator = np.random.default_rng(seed)
        self.graph = Graph()

    # --- tensors -----------------------------------------------------------------------------------------------------

    def quantization(self, spread: float = 1.0) -> Quantization:
        """Return a random scale, about ``spread`` / 50, and zero point."""
        scale = float(np.float32(spread * self.rng.uniform(0.5, 2.0) / 50))
        return Quantization((scale,), ((-128, self.number(-128, 127), 0)[self.number(0, 2)],))

    def tensor(self, shape: Sequence[int], quantization: Quantization | None = None, dtype: str = "int8") -> int:
        """Add a computed tensor."""
        name = f"t{len(self.graph.tensors)}"
        return self.graph.add_tensor(Tensor(name, tuple(shape), dtype, quantization or self.quantization()))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self.graph.tensors[tensor].shape

    def constant(self, values: NDArray[np.generic], quantization: Quantization | None = None) -> int:
        """Add a constant."""
        return self.graph.add_constant(values, f"c{len(self.graph.tensors)}", quantization)

    def number(self, low: int, high: int) -> int:
        """Return a random whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def add(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], table: str = "", **values: OptionValue
    ) -> None:
        """Append an operator."""
        operators = self.graph.operators
        made = Operator(kind, tuple(inputs), tuple(outputs), Options(table, **values) if table else Options())
        self.graph.set_operators((*operators, made))

    # --- operators ---------------------------------------------------------------------------------------------------

    def weights(self, shape: tuple[int, ...], axis: int, scale: float) -> int:
        """Add int8 weights quantised per channel."""
        scales = tuple(float(np.float32(scale * self.rng.uniform(0.3, 1.5))) for _ in range(shape[axis]))
        held = Quantization(scales, (0,) * len(scales), axis)
        return self.constant(self.rng.integers(-127, 128, shape).astype(np.int8), held)

    def bias(self, count: int, taps: int, scale: float = 1.0) -> int:
        """Add int32 biases."""
        reach = 40 * math.isqrt(taps) * 10
        held = Quantization((float(np.float32(scale)),), (0,))
        return self.constant(self.rng.integers(-reach, reach + 1, count).astype(np.int32), held)

    def conv(self, given: int, *, kernel: int = 0, channels: int = 0, stride: int = 0) -> int:
        """Add a convolution."""
        _, height, width, depth = self.shape(given)
        kernel = kernel or int(self.rng.choice([1, 1, 3, 2, 5]))
        kernel = min(kernel, height, width)
        stride = stride or int(self.rng.choice([1, 1, 2]))
        dilation = int(self.rng.choice([1, 1, 1, 2])) if stride == 1 and kernel > 1 else 1
        same = bool(self.rng.integers(2)) or (kernel - 1) * dilation + 1 > min(height, width)
        channels = channels or self.number(1, 12)
        taps = kernel * kernel * depth
        out = self.tensor((1, *self._sides(given, kernel, stride, dilation, same), channels))
        weight = self.weights((channels, kernel, kernel, depth), 0, self._weight_scale(given, out, taps))
        ends = {"padding": int(not same), "fusedActivationFunction": int(self.rng.choice([0, 1, 3]))}
        moves = {"strideH": stride, "strideW": stride, "dilationHFactor": dilation, "dilationWFactor": dilation}
        self.add("CONV_2D", (given, weight, self.bias(channels, taps)), (out,), "Conv2DOptions", **ends, **moves)
        return out

    def depthwise(self, given: int) -> int:
        """Add a depthwise convolution, sometimes with more channels than it takes."""
        _, height, width, depth = self.shape(given)
        kernel = min(int(self.rng.choice([3, 3, 2, 5])), height, width)
        stride = int(self.rng.choice([1, 1, 2]))
        same = bool(self.rng.integers(2))
        multiplier = int(self.rng.choice([1, 1, 1, 2]))
        out = self.tensor((1, *self._sides(given, kernel, stride, 1, same), depth * multiplier))
        scale = self._weight_scale(given, out, kernel * kernel)
        weight = self.weights((1, kernel, kernel, depth * multiplier), 3, scale)
        ends = {"padding": int(not same), "fusedActivationFunction": int(self.rng.choice([0, 1, 3]))}
        moves = {"strideH": stride, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": 1}
        self.add(
            "DEPTHWISE_CONV_2D",
            (given, weight, self.bias(depth * multiplier, kernel * kernel)),
            (out,),
            "DepthwiseConv2DOptions",
            depthMultiplier=multiplier,
            **ends,
            **moves,
        )
        return out

    def _weight_scale(self, given: int, out: int, taps: int) -> float:
        """Return weights' scale such that outputs use their range."""
        tensors = self.graph.tensors
        return tensors[out].scale * 40 / (tensors[given].scale * 60 * 60 * math.sqrt(taps))

    def _sides(self, given: int, kernel: int, stride: int, dilation: int, same: bool) -> tuple[int, int]:
        _, height, width, _ = self.shape(given)
        span = (kernel - 1) * dilation + 1
        rows, columns = (-(-n // stride) if same else (n - span) // stride + 1 for n in (height, width))
        return rows, columns

    def pool(self, given: int, kind: str) -> int:
        """Add AVERAGE_POOL_2D or MAX_POOL_2D."""
        _, height, width, depth = self.shape(given)
        kernel = min(self.number(2, 3), height, width)
        stride, same = self.number(1, 2), bool(self.rng.integers(2))
        out = self.tensor(
            (1, *self._sides(given, kernel, stride, 1, same), depth), self.graph.tensors[given].quantization
        )
        how = {"filterHeight": kernel, "filterWidth": kernel, "strideH": stride, "strideW": stride}
        self.add(kind, (given,), (out,), "Pool2DOptions", padding=int(not same), **how)
        return out

    def pair(self, kind: str, one: int, other: int) -> int:
        """Add ADD, SUB or MUL of two tensors."""
        tensors = self.graph.tensors
        spread = tensors[one].scale * tensors[other].scale * 2500 if kind == "MUL" else 50 * tensors[one].scale
        out = self.tensor(self.shape(one), self.quantization(spread))
        table = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[kind]
        self.add(kind, (one, other), (out,), table, fusedActivationFunction=int(self.rng.choice([0, 0, 1])))
        return out

    def constant_pair(self, given: int, kind: str) -> int:
        """Add ADD, SUB or MUL with a constant: a number, one a channel, or one an element."""
        shape = self.shape(given)
        small = [(), shape[-1:], shape, (1, 1, *shape[2:]), (1, shape[1], 1, 1)][self.number(0, 4)]
        values = self.rng.integers(-128, 128, small).astype(np.int8)
        return self.pair(kind, given, self.constant(values, self.quantization()))

    def unary(self, given: int, kind: str) -> int:
        """Add a function of one value."""
        fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "SOFTMAX": (1 / 256, -128)}.get(kind)
        held = Quantization((fixed[0],), (fixed[1],)) if fixed else None
        if kind in ("RELU6",):
            held = self.graph.tensors[given].quantization
        out = self.tensor(self.shape(given), held)
        table, values = {
            "SOFTMAX": ("SoftmaxOptions", {"beta": 1.0}),
            "LEAKY_RELU": ("LeakyReluOptions", {"alpha": 0.1}),
        }.get(kind, ("", {}))
        self.add(kind, (given,), (out,), table, **values)
        return out

    def pad(self, given: int) -> int:
        """Add PAD around a map."""
        _, height, width, depth = self.shape(given)
        around = [(0, 0), *((self.number(0, 2), self.number(0, 2)) for _ in range(2)), (0, 0)]
        (top, bottom), (left, right) = around[1:3]
        shape = (1, height + top + bottom, width + left + right, depth)
        out = self.tensor(shape, self.graph.tensors[given].quantization)
        self.add("PAD", (given, self.constant(np.array(around, np.int32))), (out,), "PadOptions")
        return out

    def resize(self, given: int) -> int:
        """Add RESIZE_NEAREST_NEIGHBOR."""
        _, height, width, depth = self.shape(given)
        rows, columns = self.number(1, 2 * height), self.number(1, 2 * width)
        out = self.tensor((1, rows, columns, depth), self.graph.tensors[given].quantization)
        self.add(
            "RESIZE_NEAREST_NEIGHBOR",
            (given, self.constant(np.array([rows, columns], np.int32))),
            (out,),
            "ResizeNearestNeighborOptions",
            halfPixelCenters=bool(self.rng.integers(2)),
        )
        return out

    def concatenate(self, ones: Sequence[int], axis: int = 3) -> int:
        """Add CONCATENATION."""
        shape = list(self.shape(ones[0]))
        shape[axis] = sum(self.shape(one)[axis] for one in ones)
        out = self.tensor(shape, self.graph.tensors[ones[0]].quantization)
        for one in ones:
            self.graph.change_tensor(one, quantization=self.graph.tensors[ones[0]].quantization)
        self.add("CONCATENATION", ones, (out,), "ConcatenationOptions", axis=axis)
        return out

    def attention(self, given: int) -> int:
        """Add softmax(q k') v over a map's pixels, keys and values from the map itself."""
        _, height, width, depth = self.shape(given)
        tokens = height * width
        query = self.conv(given, kernel=1, channels=depth, stride=1)
        held = self.graph.tensors[given].quantization
        keys = self.tensor((tokens, depth), held)
        self.add("RESHAPE", (given,), (keys,), "ReshapeOptions", newShape=(tokens, depth))
        scores = self.tensor((*self.shape(query)[:3], tokens), self.quantization(5))
        self.add("BATCH_MATMUL", (query, keys), (scores,), "BatchMatMulOptions", adjX=False, adjY=True)
        weights = self.unary(scores, "SOFTMAX")
        turned = self.tensor((depth, tokens), held)
        self.add("TRANSPOSE", (keys, self.constant(np.array([1, 0], np.int32))), (turned,), "TransposeOptions")
        out = self.tensor((1, height, width, depth))
        self.add("BATCH_MATMUL", (weights, turned), (out,), "BatchMatMulOptions", adjX=False, adjY=True)
        return out

    def rarer(self, given: int, kind: str) -> int:
        """Add one of the operators that small networks seldom have."""
        _, height, width, depth = self.shape(given)
        held = self.graph.tensors[given].quantization
        if kind in ("MINIMUM", "MAXIMUM"):
            other = self.constant(self.rng.integers(-128, 128, (depth,)).astype(np.int8), held)
            out = self.tensor(self.shape(given), held)
            self.add(kind, (given, other), (out,), "MaximumMinimumOptions")
            return out
        if kind == "PRELU":
            slopes = self.constant(self.rng.integers(-128, 128, (1, 1, depth)).astype(np.int8), self.quantization())
            out = self.tensor(self.shape(given))
            self.add(kind, (given, slopes), (out,))
            return out
        if kind == "RESIZE_BILINEAR":
            rows, columns = self.number(1, 2 * height), self.number(1, 2 * width)
            out = self.tensor((1, rows, columns, depth), held)
            size = self.constant(np.array([rows, columns], np.int32))
            half = bool(self.rng.integers(2))
            self.add(kind, (given, size), (out,), "ResizeBilinearOptions", halfPixelCenters=half)
            return out
        if kind == "TRANSPOSE_CONV":
            return self.transposed(given)
        if kind == "DIV":
            values = self.rng.integers(1, 100, (depth,)).astype(np.int8)
            other = self.constant(values, Quantization((self.quantization().scales[0],), (0,)))
            out = self.tensor(self.shape(given), self.quantization(5))
            self.add(kind, (given, other), (out,), "DivOptions")
            return out
        return self.unary(given, kind)

    def transposed(self, given: int) -> int:
        """Add TRANSPOSE_CONV."""
        _, height, width, depth = self.shape(given)
        kernel, stride, same = self.number(1, 4), self.number(1, 3), bool(self.rng.integers(2))
        rows, columns = (n * stride if same else (n - 1) * stride + kernel for n in (height, width))
        count = self.number(1, 6)
        out = self.tensor((1, rows, columns, count))
        scale = self._weight_scale(given, out, kernel * kernel * depth)
        weight = self.weights((count, kernel, kernel, depth), 0, scale)
        size = self.constant(np.array([1, rows, columns, count], np.int32))
        inputs = (size, weight, given, self.bias(count, kernel * kernel * depth))
        how = {"padding": int(not same), "strideH": stride, "strideW": stride}
        self.add("TRANSPOSE_CONV", inputs, (out,), "TransposeConvOptions", **how)
        return out

    def moved(self, given: int, kind: str) -> int:
        """Add an operator that only moves values."""
        _, height, width, depth = self.shape(given)
        held = self.graph.tensors[given].quantization
        if kind == "SPLIT" and width % 2 == 0:
            halves = [self.tensor((1, height, width // 2, depth), held) for _ in range(2)]
            self.add(kind, (self.constant(np.array(2, np.int32)), given), halves, "SplitOptions", numSplits=2)
            return self.concatenate(halves, axis=int(self.rng.choice([1, 2, 3])))
        if kind == "STRIDED_SLICE" and min(height, width) > 3:
            begin, step = (0, self.number(0, 1), self.number(0, 2), 0), (1, self.number(1, 2), self.number(1, 2), 1)
            sides = [len(range(b, n, s)) for b, n, s in zip(begin, (1, height, width, depth), step, strict=True)]
            numbers = [self.constant(np.array(one, np.int32)) for one in (begin, (1, height, width, depth), step)]
            out = self.tensor(sides, held)
            self.add(kind, (given, *numbers), (out,), "StridedSliceOptions")
            return out
        if kind == "SPACE_TO_DEPTH" and height % 2 == 0 and width % 2 == 0:
            out = self.tensor((1, height // 2, width // 2, depth * 4), held)
            self.add(kind, (given,), (out,), "SpaceToDepthOptions", blockSize=2)
            return out
        if kind == "DEPTH_TO_SPACE" and depth % 4 == 0:
            out = self.tensor((1, height * 2, width * 2, depth // 4), held)
            self.add(kind, (given,), (out,), "DepthToSpaceOptions", blockSize=2)
            return out
        order = [0, *self.rng.permutation([1, 2, 3]).tolist()]
        out = self.tensor([self.shape(given)[n] for n in order], held)
        self.add("TRANSPOSE", (given, self.constant(np.array(order, np.int32))), (out,), "TransposeOptions")
        return out

    def head(self, given: int) -> int:
        """Add MEAN and a classifier; or the classifier on the whole map."""
        _, height, width, depth = self.shape(given)
        if self.rng.random() < 0.7:
            flat = self.tensor((1, depth))
            axes = self.constant(np.array([1, 2], np.int32))
            self.add("MEAN", (given, axes), (flat,), "ReducerOptions", keepDims=False)
        else:
            flat = self.tensor((1, height * width * depth), self.graph.tensors[given].quantization)
            self.add("RESHAPE", (given,), (flat,), "ReshapeOptions", newShape=(1, height * width * depth))
        size, classes = self.shape(flat)[1], self.number(2, 6)
        out = self.tensor((1, classes))
        scale = self._weight_scale(flat, out, size)
        weight = self.constant(
            self.rng.integers(-127, 128, (classes, size)).astype(np.int8),
            Quantization((float(np.float32(scale)),), (0,)),
        )
        bias = self.bias(classes, size, scale * self.graph.tensors[flat].scale)
        self.add("FULLY_CONNECTED", (flat, weight, bias), (out,), "FullyConnectedOptions")
        return out


def random_network(seed: int, operators: int = 8) -> Graph:
    """Return an int8 network of one image."""
    make = Maker(seed)
    height, width = make.number(4, 14), make.number(4, 14)
    source = make.tensor((1, height, width, make.number(1, 4)))
    make.graph.set_inputs([source])
    now = make.conv(source)
    for _ in range(make.number(2, operators)):
        now = _grow(make, now)
    make.graph.set_outputs([make.head(now)])
    return make.graph


def _grow(make: Maker, now: int) -> int:
    """Return a tensor that one more random operator, or branch, makes."""
    _, height, width, depth = make.shape(now)
    small = height * width <= 64
    grown = _WAYS[make.number(0, len(_WAYS) - 1)]
    if (grown is _attend and not (small and depth >= 2)) or (grown in (_resize, _pad) and height * width > 150):
        return make.conv(now)
    return grown(make, now)


def _residual(make: Maker, now: int) -> int:
    depth = make.shape(now)[3]
    side = make.conv(make.conv(now, stride=1), channels=depth, kernel=1, stride=1)
    return make.pair("ADD", now, side) if make.shape(side) == make.shape(now) else side


def _gated(make: Maker, now: int) -> int:
    gate = make.unary(make.conv(now, kernel=1, channels=make.shape(now)[3], stride=1), "LOGISTIC")
    return make.pair("MUL", now, gate)


def _function(make: Maker, now: int) -> int:
    return make.unary(now, str(make.rng.choice(["LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "SOFTMAX"])))


def _constant(make: Maker, now: int) -> int:
    return make.constant_pair(now, str(make.rng.choice(["ADD", "SUB", "MUL"])))


def _pool(make: Maker, now: int) -> int:
    if min(make.shape(now)[1:3]) < 3:
        return make.conv(now)
    return make.pool(now, str(make.rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"])))


def _branch(make: Maker, now: int) -> int:
    return make.concatenate([now, make.conv(now, kernel=1, stride=1)])


def _attend(make: Maker, now: int) -> int:
    return make.attention(now)


def _resize(make: Maker, now: int) -> int:
    return make.resize(now)


def _pad(make: Maker, now: int) -> int:
    return make.pad(now)


def _rarer(make: Maker, now: int) -> int:
    if make.shape(now)[1] * make.shape(now)[2] > 120:
        return make.conv(now)
    kinds = ["MINIMUM", "MAXIMUM", "PRELU", "RESIZE_BILINEAR", "TRANSPOSE_CONV", "DIV", "HARD_SWISH", "QUANTIZE"]
    return make.rarer(now, str(make.rng.choice(kinds)))


def _moved(make: Maker, now: int) -> int:
    kinds = ["SPLIT", "STRIDED_SLICE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "TRANSPOSE"]
    return make.moved(now, str(make.rng.choice(kinds)))


def _depthwise(make: Maker, now: int) -> int:
    return make.depthwise(now)


def _conv(make: Maker, now: int) -> int:
    return make.conv(now)


_WAYS = (
    _residual,
    _gated,
    _function,
    _constant,
    _pool,
    _branch,
    _attend,
    _resize,
    _pad,
    _depthwise,
    _conv,
    _conv,
    _rarer,
    _rarer,
    _moved,
)
