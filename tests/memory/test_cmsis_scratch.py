"""Kernel scratch against cases worked out by hand from the libraries' own formulas."""

from typing import Any

import pytest

from sapool.memory.cmsis_scratch import (
    cmsis_persistent_bytes,
    cmsis_scratch_sizes,
    esp_scratch_sizes,
    kernel_scratch,
)
from sapool.memory.scratch import scratch_sizes
from sapool.memory.targets import Simd, get_target
from sapool.tflite import Graph, Operator
from tests.graphs import make_operator, make_tensor

SIMD: tuple[Simd, ...] = ("none", "dsp", "mve")
SAME, VALID = 0, 1


def one_operator(
    kind: str, shape: tuple[int, ...], weights: tuple[int, ...], out: tuple[int, ...], **options: Any
) -> tuple[Graph, Operator]:
    constant, dtype = options.pop("constant", True), options.pop("dtype", "int8")
    tensors = (
        make_tensor("x", shape, dtype),
        make_tensor("w", weights, constant=constant),
        make_tensor("y", out, dtype),
    )
    operator = make_operator(kind, (0, 1), (2,), options)
    return Graph(tensors, (operator,), (0,), (2,)), operator


def convolution(kernel: tuple[int, int], size: int = 8, channels: int = 16, **options: Any) -> Any:
    stride = options.get("strideH", 1)
    out = (1, size // stride, size // stride, 24)
    return one_operator("CONV_2D", (1, size, size, channels), (24, *kernel, channels), out, **options)


@pytest.mark.parametrize(
    ("kernel", "channels", "plain", "mve"),
    [
        # two patches of 9 x 16 as int16: 2 * 144 * 2; Helium: four patches of 144 bytes, 144 = 9 * 16
        ((3, 3), 16, 576, 576),
        # 9 * 3 = 27, to 28 (four at a time): 2 * 28 * 2; Helium: to 32: 4 * 32
        ((3, 3), 3, 112, 128),
        ((5, 5), 8, 2 * 200 * 2, 4 * 208),
    ],
)
def test_convolution_unfolds_patches(kernel: tuple[int, int], channels: int, plain: int, mve: int):
    graph, operator = convolution(kernel, channels=channels, padding=SAME)
    assert [cmsis_scratch_sizes(graph, operator, simd) for simd in SIMD] == [(plain,), (plain,), (mve,)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("simd", SIMD)
def test_pointwise_convolution_needs_none(simd: Simd, stride: int):
    graph, operator = convolution((1, 1), strideH=stride, strideW=stride, padding=SAME)
    assert cmsis_scratch_sizes(graph, operator, simd) == ()


def test_dilated_pointwise_convolution_unfolds():
    graph, operator = convolution((1, 1), dilationHFactor=2, dilationWFactor=2, padding=SAME)
    assert cmsis_scratch_sizes(graph, operator, "dsp") == (2 * 16 * 2,)


def row(columns: int, out: int, kernel: int, stride: int, padding: int, channels: int = 4) -> Any:
    shapes = ((1, 1, columns, channels), (8, 1, kernel, channels), (1, 1, out, 8))
    return one_operator("CONV_2D", *shapes, strideW=stride, strideH=1, padding=padding)


@pytest.mark.parametrize(
    ("columns", "out", "kernel", "stride", "padding", "mve"),
    [
        (16, 16, 3, 1, SAME, max(3 * 4 + 4, 2 * 4 + 4)),  # one column of padding each side
        (16, 14, 3, 1, VALID, 3 * 4),  # none
        (16, 8, 3, 2, SAME, max(3 * 4, 2 * 4 + 4)),  # one column behind only
        (2, 2, 5, 1, SAME, 4 * 32),  # 2 + 2 padded outputs of 2: the general kernel, 20 bytes to 32
    ],
)
def test_row_convolution_with_helium(columns: int, out: int, kernel: int, stride: int, padding: int, mve: int):
    graph, operator = row(columns, out, kernel, stride, padding)
    assert cmsis_scratch_sizes(graph, operator, "mve") == (mve,)
    assert cmsis_scratch_sizes(graph, operator, "dsp") == (2 * 4 * kernel * 2,)


def test_row_convolution_of_odd_channels_is_general():
    graph, operator = row(16, 16, 3, 1, SAME, channels=3)
    assert cmsis_scratch_sizes(graph, operator, "mve") == (4 * 16,)  # 9 bytes to 16


@pytest.mark.parametrize(
    ("kernel", "out_channels", "options", "expected"),
    [
        (3, 32, {}, (0, 0, 4 * 124 * 9)),  # 3 x 3 has a kernel without a buffer
        (5, 32, {}, (0, 32 * 25 * 2, 4 * 124 * 25)),
        (3, 64, {}, (0, 0, 0)),  # a channel multiplier: the plain kernel
        (5, 32, {"dilationHFactor": 2, "dilationWFactor": 2}, (0, 0, 0)),
    ],
)
def test_depthwise(kernel: int, out_channels: int, options: dict[str, Any], expected: tuple[int, ...]):
    shapes = ((1, 12, 12, 32), (1, kernel, kernel, out_channels), (1, 12, 12, out_channels))
    graph, operator = one_operator("DEPTHWISE_CONV_2D", *shapes, padding=SAME, **options)
    assert tuple(sum(cmsis_scratch_sizes(graph, operator, simd)) for simd in SIMD) == expected


def test_depthwise_of_a_wide_stride_pads_no_more_than_one():
    shapes = ((1, 3, 3, 8), (1, 3, 3, 8), (1, 3, 3, 8))
    graph, operator = one_operator("DEPTHWISE_CONV_2D", *shapes, padding=SAME)
    assert cmsis_scratch_sizes(graph, operator, "dsp") == ()


def test_average_pool_accumulates_with_dsp_only():
    graph, operator = one_operator("AVERAGE_POOL_2D", (1, 8, 8, 40), (), (1, 4, 4, 40))
    assert [cmsis_scratch_sizes(graph, operator, simd) for simd in SIMD] == [(), (160,), ()]


def test_fully_connected_sums_constant_weights_into_the_tail():
    graph, operator = one_operator("FULLY_CONNECTED", (1, 64), (10, 64), (1, 10))
    assert [cmsis_scratch_sizes(graph, operator, simd) for simd in SIMD] == [(), (), ()]
    assert [cmsis_persistent_bytes(graph, operator, simd) for simd in SIMD] == [32, 32, 32 + 48]  # 40 bytes to 48


def test_fully_connected_sums_other_weights_in_scratch():
    graph, operator = one_operator("FULLY_CONNECTED", (1, 64), (10, 64), (1, 10), constant=False)
    assert [cmsis_scratch_sizes(graph, operator, simd) for simd in SIMD] == [(), (), (40,)]
    assert cmsis_persistent_bytes(graph, operator, "mve") == 32


def test_deep_fully_connected_runs_as_a_convolution():
    graph, operator = one_operator("FULLY_CONNECTED", (1, 6, 64), (10, 64), (1, 6, 10))
    assert cmsis_scratch_sizes(graph, operator, "mve") == ()
    assert cmsis_persistent_bytes(graph, operator, "dsp") == 32 + 2 * 48  # ten multipliers, ten shifts


def test_matrix_product_with_helium_sums_columns():
    graph, operator = one_operator("BATCH_MATMUL", (1, 4, 64, 16), (1, 4, 50, 16), (1, 4, 64, 50), constant=False)
    assert [cmsis_scratch_sizes(graph, operator, simd) for simd in SIMD] == [(), (), (200,)]


@pytest.mark.parametrize("simd", SIMD)
def test_mean_keeps_the_reference_kernels_scratch(simd: Simd):
    graph, operator = one_operator("MEAN", (1, 8, 8, 40), (2,), (1, 40))
    reference = scratch_sizes(graph, operator)
    assert 160 in reference  # 40 sums
    assert cmsis_scratch_sizes(graph, operator, simd) == esp_scratch_sizes(graph, operator) == reference


def test_float_runs_the_reference_kernels():
    graph, operator = convolution((3, 3), dtype="float32")
    assert cmsis_scratch_sizes(graph, operator, "dsp") == ()
    assert cmsis_persistent_bytes(graph, operator, "dsp") == 0


def test_esp_softmax():
    graph, operator = one_operator("SOFTMAX", (1, 64, 50), (), (1, 64, 50))
    assert esp_scratch_sizes(graph, operator) == (256,)


@pytest.mark.parametrize(
    ("target", "expected"), [("cortex-m4", (576,)), ("cortex-m55", (576,)), ("esp32", ()), ("riscv", ())]
)
def test_a_target_chooses_its_kernels(target: str, expected: tuple[int, ...]):
    graph, operator = convolution((3, 3))
    assert kernel_scratch(graph, operator, get_target(target)) == expected
