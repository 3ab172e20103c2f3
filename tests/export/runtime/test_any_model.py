from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.export import InterpreterError, measure_arena, run_interpreter
from sapool.export.runtime.any_model import inputs_of, random_inputs, run_any
from sapool.tflite.file import TfliteError, pack, parse, schema
from tests.memory.handmade import Graph, Op, Tensor, build

ADD: tuple[str, dict[str, int]] = ("AddOptions", {})


def sums() -> bytes:
    """Two inputs of different shapes and two outputs: the sum, and its half."""
    tensors = [
        Tensor((1, 4, 4, 8), scales=(0.5,)),
        Tensor((1, 1, 1, 8), scales=(0.25,)),
        Tensor((1, 4, 4, 8), scales=(1.0,)),
        Tensor((1, 4, 4, 8), scales=(2.0,)),
    ]
    return build(Graph(tensors, [Op("ADD", [0, 1], [2], ADD), Op("QUANTIZE", [2], [3])], [0, 1], [2, 3]))


def test_every_input_is_fed_and_every_output_is_read() -> None:
    big = np.arange(-128, 128, dtype=np.int8).reshape(2, 1, 4, 4, 8)
    small = np.full((2, 1, 1, 1, 8), 40, np.int8)
    total, half = run_any("sums", sums(), (big, small)).outputs
    assert total.shape == half.shape == (2, 1, 4, 4, 8)
    expected = big * 0.5 + 10
    np.testing.assert_allclose(total, expected, atol=0.5)
    np.testing.assert_allclose(2.0 * half, total, atol=1.0)


def test_the_arena_is_what_the_other_runner_measures(exported: Path) -> None:
    data = exported.read_bytes()
    inputs = random_inputs(data, 3)
    outcome, arena = run_any("exported", data, inputs), measure_arena(exported)
    sizes = (outcome.head_bytes, outcome.tail_bytes, outcome.total_bytes)
    assert sizes == (arena.head_bytes, arena.tail_bytes, arena.total_bytes)
    np.testing.assert_array_equal(outcome.outputs[0][:, 0], run_interpreter("tflm", exported, inputs[0][:, 0]))


def test_noise_has_each_inputs_shape_type_and_range() -> None:
    types = ("int8", "int16", "int32", "float32")
    tensors = [Tensor((1, 64), dtype) for dtype in types]
    data = build(Graph([*tensors, Tensor((1, 64))], [Op("RELU", [0], [4])], range(4), [4]))
    made = random_inputs(data, 50)
    assert [(a.shape, a.dtype.name) for a in made] == [((50, 1, 64), dtype) for dtype in types]
    assert (made[0].min(), made[0].max()) == (-128, 127)
    assert (made[2].min(), made[2].max()) == (0, 1)
    assert [info.dtype for info in inputs_of(data)] == list(types)
    np.testing.assert_array_equal(made[0], random_inputs(data, 50)[0])


def test_outputs_are_compared_bit_by_bit() -> None:
    data = sums()
    inputs = random_inputs(data, 2)
    one = run_any("sums", data, inputs)
    other = run_any("sums", data, (inputs[0], inputs[1] ^ np.int8(16)))
    assert one.same_outputs(run_any("sums", data, inputs))
    assert not one.same_outputs(other)


def test_what_cannot_be_run_is_refused_in_one_line() -> None:
    model = parse(sums())
    fb = schema()
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = fb.BuiltinOperator.MATRIX_SET_DIAG
    with pytest.raises(InterpreterError, match=r"mine: TensorFlow Lite Micro .*MATRIX_SET_DIAG"):
        run_any("mine", pack(model), random_inputs(sums(), 1))
    with pytest.raises(TfliteError, match="a model without inputs"):
        inputs_of(build(Graph([Tensor((1, 4)), Tensor((1, 4))], [Op("RELU", [0], [1])], [], [1])))
