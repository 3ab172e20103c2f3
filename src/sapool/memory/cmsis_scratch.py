"""What CMSIS-NN's and ESP-NN's kernels ask the arena for, in place of TensorFlow Lite Micro's reference kernels.

Built with GCC: Arm's own compiler takes 4 bytes a channel more in 1 x 1 convolutions. Only int8 kernels; operators of
other types are counted as TFLM's reference kernels.

Sources: ARM-software/CMSIS-NN, ``Source/*/arm_*_get_buffer_sizes_s8.c``; the kernels that call them,
tensorflow/tflite-micro, ``tensorflow/lite/micro/kernels/cmsis_nn``; espressif/esp-nn and espressif/esp-tflite-micro.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sapool.memory.scratch import scratch_sizes
from sapool.memory.targets import Simd, Target
from sapool.tflite import Graph, Operator, window_options

_INT16, _INT32 = 2, 4
_MVE_LANES = 16  # int8 elements in a Helium register
_COLUMNS = {"none": 2, "dsp": 2, "mve": 4}  # patches that a convolution unfolds at a time
_CHANNELS_AT_A_TIME = 124  # CH_IN_BLOCK_MVE, in a depthwise convolution with Helium
_ALIGNMENT = 16
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

NOT_COUNTED = ("TRANSPOSE_CONV", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")
"""Operators whose CMSIS-NN kernels ask for scratch that is counted as the reference kernels' here."""


@dataclass(frozen=True)
class _Window:
    """A convolution's or pool's geometry: (rows, columns) each."""

    batch: int
    input: tuple[int, int]
    output: tuple[int, int]
    channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]

    @property
    def patch(self) -> int:
        """Elements of one input patch."""
        return self.channels * self.kernel[0] * self.kernel[1]


def _window(graph: Graph, operator: Operator) -> _Window:
    batch, rows, columns, channels = graph.tensors[operator.inputs[0]].shape
    out = graph.tensors[operator.outputs[0]].shape
    weights = graph.tensors[operator.inputs[1]].shape
    moves = window_options(operator.options)
    stride, dilation = moves.stride, moves.dilation
    kernel, size, output = (weights[1], weights[2]), (rows, columns), (out[1], out[2])
    padding = [
        max((o - 1) * s + (k - 1) * d + 1 - i, 0) // 2 if moves.same else 0
        for i, o, k, s, d in zip(size, output, kernel, stride, dilation, strict=True)
    ]
    return _Window(batch, size, output, channels, out[3], kernel, stride, dilation, (padding[0], padding[1]))


def kernel_scratch(graph: Graph, operator: Operator, target: Target) -> tuple[int, ...]:
    """Return the sizes in bytes, not aligned, of an operator's scratch buffers on a target's kernels."""
    if target.kernels == "cmsis-nn":
        return cmsis_scratch_sizes(graph, operator, target.simd)
    if target.kernels == "esp-nn":
        return esp_scratch_sizes(graph, operator)
    return scratch_sizes(graph, operator)


def cmsis_scratch_sizes(graph: Graph, operator: Operator, simd: Simd) -> tuple[int, ...]:
    """Return the sizes in bytes, not aligned, of an operator's scratch buffers on CMSIS-NN's kernels.

    Args:
        graph: the operator's graph.
        operator: one of its operators; kinds without a CMSIS-NN kernel have the reference kernel's scratch.
        simd: the instructions CMSIS-NN is built for.
    """
    rule = _CMSIS.get(operator.kind)
    if rule is None or not _is_int8(graph, operator):
        return scratch_sizes(graph, operator)
    size = rule(graph, operator, simd)
    return (size,) if size else ()


def _is_int8(graph: Graph, operator: Operator) -> bool:
    """Whether CMSIS-NN's int8 kernel runs: 4-bit weights have kernels of their own."""
    if operator.custom or not operator.inputs:
        return False
    weights = operator.inputs[1] if operator.kind in _WEIGHTED else operator.inputs[0]
    return graph.tensors[operator.inputs[0]].dtype == graph.tensors[weights].dtype == "int8"


def _convolution(graph: Graph, operator: Operator, simd: Simd) -> int:
    """``arm_convolve_wrapper_s8_get_buffer_size``."""
    window = _window(graph, operator)
    if window.kernel == (1, 1) and window.padding == (0, 0) and window.dilation == (1, 1):
        return 0
    if simd != "mve":
        return _COLUMNS[simd] * _up(window.patch, 4) * _INT16
    row = window.input[0] == 1 and window.kernel[0] == 1 and window.dilation[1] == 1
    if row and window.stride[1] * window.channels % 4 == 0:
        size = _row_convolution(window)
        if size is not None:
            return size
    return _COLUMNS[simd] * _up(window.patch, _MVE_LANES)


def _row_convolution(window: _Window) -> int | None:
    """``arm_convolve_1_x_n_s8_get_buffer_size_mve``: one row of pixels; None where the general kernel runs instead."""
    pad, stride, kernel, columns = window.padding[1], window.stride[1], window.kernel[1], window.output[1]
    odd = ((columns - 1) * stride + kernel - window.input[1]) % 2
    right = max(1, (pad + odd + stride - 1) // stride) if pad + odd else 0
    left = max(1, (pad + stride - 1) // stride) if pad else 0
    if right + left > columns:
        return None
    channels = window.channels
    before = pad * channels
    behind = right * channels if odd else before
    return max(kernel * channels + before, (kernel - 1) * channels + behind)


def _depthwise(graph: Graph, operator: Operator, simd: Simd) -> int:
    """``arm_depthwise_conv_wrapper_s8_get_buffer_size``."""
    window = _window(graph, operator)
    if window.channels != window.out_channels or window.batch != 1 or window.dilation != (1, 1):
        return 0
    if simd == "mve":
        return 4 * _CHANNELS_AT_A_TIME * window.kernel[0] * window.kernel[1]
    if simd == "none" or (window.kernel == (3, 3) and max(window.padding) <= 1):
        return 0
    return window.patch * _INT16


def _average_pool(graph: Graph, operator: Operator, simd: Simd) -> int:
    """``arm_avgpool_s8_get_buffer_size``: one accumulator a channel."""
    return graph.tensors[operator.inputs[0]].shape[-1] * _INT32 if simd == "dsp" else 0


def _kernel_sums(graph: Graph, operator: Operator, simd: Simd) -> int:
    """``arm_fully_connected_s8_get_buffer_size``: the sum of each output's weights, with Helium."""
    return graph.tensors[operator.outputs[0]].shape[-1] * _INT32 if simd == "mve" else 0


def _fully_connected(graph: Graph, operator: Operator, simd: Simd) -> int:
    """Constant weights are summed once into the tail (:func:`cmsis_persistent_bytes`)."""
    if _as_convolution(graph, operator) or graph.is_constant(operator.inputs[1]):
        return 0
    return _kernel_sums(graph, operator, simd)


def _as_convolution(graph: Graph, operator: Operator) -> bool:
    """Whether TFLM runs a fully connected layer as a 1 x 1 convolution."""
    deep = len(graph.tensors[operator.outputs[0]].shape) > 2
    return deep and graph.tensors[operator.inputs[1]].shape[-1] % 4 == 0


_CMSIS: Mapping[str, Callable[[Graph, Operator, Simd], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _average_pool,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _kernel_sums,
}

_LARGER_STATE = {"FULLY_CONNECTED": 32, "BATCH_MATMUL": 32, "AVERAGE_POOL_2D": 16, "MAX_POOL_2D": 16}
"""By how many aligned bytes CMSIS-NN kernels' ``OpData`` exceeds the reference kernels' on 32 bits, by its fields."""


def cmsis_persistent_bytes(graph: Graph, operator: Operator, simd: Simd) -> int:
    """Return the bytes of tail that an operator's CMSIS-NN kernel keeps beyond the reference kernel's, on 32 bits."""
    if not _is_int8(graph, operator):
        return 0
    extra = _LARGER_STATE.get(operator.kind, 0)
    if operator.kind != "FULLY_CONNECTED":
        return extra
    if _as_convolution(graph, operator):  # a multiplier and a shift for every output
        return extra + 2 * _up(graph.tensors[operator.outputs[0]].shape[-1] * _INT32, _ALIGNMENT)
    if graph.is_constant(operator.inputs[1]):
        return extra + _up(_kernel_sums(graph, operator, simd), _ALIGNMENT)
    return extra


def esp_scratch_sizes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """Return the sizes of an operator's scratch buffers on ESP-NN's generic C kernels: an int32 a row of a softmax.

    The assembly kernels of ESP32-S3 and ESP32-P4 ask for more, and for other sizes in every release: not counted.
    """
    if operator.kind == "SOFTMAX" and _is_int8(graph, operator):
        shape = graph.tensors[operator.inputs[0]].shape
        return (shape[1] * _INT32,) if len(shape) > 1 else ()
    return scratch_sizes(graph, operator)


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
