from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sapool.tflite.padding import (
    SAME,
    VALID,
    WindowFacts,
    folded_kernel,
    same_padding_before,
    tensorflow_padding,
)


def tensorflow_conv(x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    """A convolution by the rule in TensorFlow's documentation, padded by hand."""
    if padding == SAME:
        size, kernel = x.shape[2], weight.shape[2]
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = F.pad(x, (whole // 2, whole - whole // 2) * 2)
    return F.conv2d(x, weight, stride=stride)


windows = st.tuples(st.integers(4, 13), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2))


@settings(deadline=None)
@given(windows)
def test_the_rule_that_is_named_pads_as_pytorch_does(window: tuple[int, int, int, int]) -> None:
    size, kernel, stride, pad = window
    assume(pad <= kernel // 2 and kernel <= size)
    rule = tensorflow_padding((size, size), (kernel, kernel), (stride, stride), (pad, pad))
    x, weight = torch.rand(1, 1, size, size), torch.rand(1, 1, kernel, kernel)
    wanted = F.conv2d(x, weight, stride=stride, padding=pad)
    if rule is not None:
        torch.testing.assert_close(tensorflow_conv(x, weight, stride, rule), wanted)
        return
    for other in (SAME, VALID):
        got = tensorflow_conv(x, weight, stride, other)
        assert got.shape != wanted.shape or not torch.allclose(got, wanted)


def test_a_folded_kernel_is_the_same_convolution_under_same() -> None:
    folded = 0
    for size, kernel, stride in itertools.product(range(4, 17), range(1, 8), range(1, 5)):
        for pad in range(min(kernel // 2, 3) + 1 if kernel <= size else 0):
            larger = folded_kernel((size, size), (kernel, kernel), (stride, stride), (pad, pad))
            if larger is None:
                continue
            folded += 1
            x, weight = torch.rand(1, 1, size, size), torch.rand(1, 1, kernel, kernel)
            zeros = F.pad(weight, (0, larger[0] - kernel, 0, larger[0] - kernel))
            wanted = F.conv2d(x, weight, stride=stride, padding=pad)
            torch.testing.assert_close(tensorflow_conv(x, zeros, stride, SAME), wanted)
    assert folded > 50


def test_a_padded_stride_of_two_on_an_even_map_needs_a_larger_kernel_and_on_an_odd_one_does_not() -> None:
    assert folded_kernel((224, 224), (3, 3), (2, 2), (1, 1)) == (4, 4)
    assert folded_kernel((225, 225), (3, 3), (2, 2), (1, 1)) is None
    assert same_padding_before(224, 4, 2) == 1


@pytest.mark.parametrize("ceil_mode", [False, True])
@settings(deadline=None)
@given(windows)
def test_output_sizes_are_those_of_pytorch(ceil_mode: bool, window: tuple[int, int, int, int]) -> None:
    size, kernel, stride, pad = window
    assume(pad <= kernel // 2 and kernel <= size)
    made = F.max_pool2d(torch.rand(1, 1, size, size), kernel, stride, pad, ceil_mode=ceil_mode)
    facts = WindowFacts((kernel, kernel), (stride, stride), (pad, pad), ceil_mode=ceil_mode)
    assert facts.output_size((size, size)) == tuple(made.shape[2:])
