from __future__ import annotations

import numpy as np
import pytest

from sapool.tflite import BYTES_OF, Constant, Quantization, Tensor


@pytest.mark.parametrize("dtype", sorted(set(BYTES_OF) - {"int4", "resource"}))
def test_sizes_are_those_of_numpy(dtype: str) -> None:
    assert Tensor("x", (2, 3, 5), dtype).bytes == np.zeros((2, 3, 5), dtype).nbytes


def test_packed_numbers_count_as_unpacked_and_read_as_bytes() -> None:
    packed = Tensor("w", (1, 5), "int4", constant=Constant(np.array([0x21, 0x43, 0x05], np.uint8)))
    assert (packed.bytes, packed.elements) == (5, 5)
    assert packed.values is not None
    assert packed.values.tolist() == [0x21, 0x43, 0x05]


def test_a_type_of_another_kind_is_as_long_as_its_bytes() -> None:
    assert Tensor("words", (2,), "string", constant=Constant(np.zeros(19, np.uint8))).bytes == 19
    with pytest.raises(KeyError):
        _ = Tensor("words", (2,), "string").bytes


def test_values_have_the_tensors_own_type_and_shape() -> None:
    numbers = np.array([[1, -2], [3, 400]], np.int16)
    tensor = Tensor("x", (2, 2), "int16", constant=Constant(lambda: numbers))
    assert tensor.values is not None
    assert tensor.values.dtype == np.int16
    assert tensor.values.tolist() == numbers.tolist()
    assert tensor.integers == ()  # a list of sides or axes is int32 or int64
    assert Tensor("axes", (2,), "int64", constant=Constant(np.array([1, -1]))).integers == (1, -1)
    assert Tensor("computed", (2,), "int32").integers == ()
    assert Tensor("computed", (2,)).values is None


def test_a_constant_knows_whether_its_bytes_are_there() -> None:
    made = Constant(lambda: np.ones(3, np.int8))
    there = [made.read, made.raw.tobytes() == b"\x01" * 3, made.read]
    assert there == [False, True, True]
    assert Constant(np.zeros(3, np.uint8)).read


def test_one_scale_is_the_tensors_and_several_are_the_channels() -> None:
    one = Tensor("x", (4,), quantization=Quantization((0.25,), (3,)))
    assert (one.channels, one.scale, one.zero_point) == (1, 0.25, 3)
    many = Tensor("w", (2, 4), quantization=Quantization((0.25, 0.5), (3, 4)))
    assert (many.channels, many.scale, many.zero_point) == (2, 0.0, 0)
    assert (Tensor("f", (4,), "float32").channels, Tensor("f", (4,), "float32").scale) == (0, 0.0)
