from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.passes.file.fold_pads import _extra_rows, fold_pads
from sapool.tflite import read_graph, write_graph
from tests.memory.handmade import Graph, Op, Tensor, build, constant

SAME, VALID = 0, 1


def padded(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    margins: tuple[tuple[int, int], tuple[int, int]],
    *,
    depthwise: bool = False,
    dilation: int = 1,
    dtype: str = "int8",
) -> bytes:
    """PAD and a VALID convolution of 3 channels."""
    dice = np.random.default_rng(0)
    reach = [(k - 1) * dilation + 1 for k in kernel]
    out = [(n + sum(m) - k) // s + 1 for n, k, s, m in zip(size, reach, stride, margins, strict=True)]
    shape = (1, *kernel, 3) if depthwise else (4, *kernel, 3)
    quantised = dtype == "int8"
    values: NDArray[Any] = dice.integers(-127, 128, shape, np.int8)
    channels = 3 if depthwise else 4
    weights = Tensor(shape, dtype, values if quantised else values.astype(np.float32), (0.02,) * channels)
    weights.dimension = 3 if depthwise else 0
    bias = Tensor((channels,), "int32" if quantised else "float32", np.arange(channels), (0.01,) * channels)
    bias.data = bias.data.astype(bias.dtype)
    tensors = [
        Tensor((1, *size, 3), dtype, scales=(0.5,), zero=-5),
        constant([[0, 0], *margins, [0, 0]]),
        Tensor((1, size[0] + sum(margins[0]), size[1] + sum(margins[1]), 3), dtype, scales=(0.5,), zero=-5),
        weights,
        bias,
        Tensor((1, *out, channels), dtype, scales=(3.0,), zero=4),
    ]
    options = {
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation,
        "dilationWFactor": dilation,
        "padding": VALID,
    }
    name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options |= {"depthMultiplier": 1} if depthwise else {}
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    ops = [Op("PAD", [0, 1], [2], ("PadOptions", {})), Op(kind, [2, 3, 4], [5], (name, options))]
    return build(Graph(tensors, ops, [0], [5]))


FOLDED = {
    "symmetric, stride 2": padded((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "symmetric, stride 1": padded((7, 9), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "behind only": padded((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1))),
    "before only": padded((8, 8), (3, 3), (2, 2), ((1, 0), (1, 0))),
    "oblong": padded((9, 8), (3, 5), (2, 1), ((1, 1), (2, 2))),
    "depthwise": padded((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), depthwise=True),
    "depthwise, 7 rows": padded((16, 16), (7, 7), (4, 4), ((3, 3), (3, 3)), depthwise=True),
    "dilated": padded((8, 8), (3, 3), (1, 1), ((2, 2), (2, 2)), dilation=2),
    "float": padded((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), dtype="float32"),
}
LEFT_ALONE = {
    "a larger result": padded((8, 8), (3, 3), (1, 1), ((2, 2), (2, 2))),
    "a smaller result": padded((8, 8), (5, 5), (1, 1), ((1, 1), (1, 1))),
    "dilated and moved": padded((8, 8), (3, 3), (2, 2), ((2, 2), (2, 2)), dilation=2),
}


@pytest.mark.parametrize("name", FOLDED)
def test_the_padding_goes_into_the_convolution_to_the_bit(name: str) -> None:
    data = FOLDED[name]
    model = read_graph(data)
    assert fold_pads(model) == 1
    assert "PAD" not in model.kinds()
    inputs = random_inputs(data, 3)
    before, after = run_model("before", data, inputs), run_model("after", write_graph(model), inputs)
    assert after.same_outputs(before)
    assert len(np.unique(before.outputs[0])) > 20
    assert after.total_bytes < before.total_bytes


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_padding_that_same_can_not_do_stays(name: str) -> None:
    model = read_graph(LEFT_ALONE[name])
    assert fold_pads(model) == 0
    assert "PAD" in model.kinds()


def test_a_pad_that_others_read_stays_for_them() -> None:
    model = read_graph(FOLDED["symmetric, stride 2"])
    model.set_outputs([2, 5])
    assert fold_pads(model) == 1
    assert "PAD" in model.kinds()


def test_weights_with_a_zero_point_are_left_alone() -> None:
    model = read_graph(FOLDED["symmetric, stride 2"])
    scales = model.tensors[3].quantization
    assert scales is not None
    model.change_tensor(3, quantization=replace(scales, zero_points=(2,) * 4))
    assert fold_pads(model) == 0


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_zero_rows_move_the_kernel_to_where_it_was(kernel: int, stride: int) -> None:
    """Naive: the same taps on the same pixels."""
    for size in range(kernel, 12):
        for before in range(4):
            for behind in range(4):
                outputs = (size + before + behind - kernel) // stride + 1
                extra = _extra_rows(size, kernel, outputs, before, stride, 1)
                if extra is None:
                    continue
                reach = kernel + sum(extra)
                front = max((outputs - 1) * stride + reach - size, 0) // 2
                assert -(-size // stride) == outputs
                assert front - extra[0] == before
                assert min(extra) >= 0
