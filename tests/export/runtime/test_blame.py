from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sapool.export import InterpreterError, measure_arena, run_interpreter
from sapool.export.runtime.blame import find_culprit, one_operator, truncate
from sapool.export.runtime.interpreters import lacking_operators, trace_tensors
from sapool.tflite import TfliteError, read_graph
from sapool.tflite.ends import input_output
from sapool.tflite.file import parse
from tests.export import hand_made


def fail(path: Path, engine: str = "tflm") -> InterpreterError:
    taken, _ = input_output(read_graph(path))
    with pytest.raises(InterpreterError) as caught:
        run_interpreter("tflm" if engine == "tflm" else "litert", path, np.full(taken.shape, -5, np.int8))
    return caught.value


def test_a_silent_abort_is_blamed_on_its_operator(tmp_path: Path) -> None:
    """TFLM checks the keys with an assertion and says nothing; only running beginnings of the graph tells."""
    error = fail(hand_made.soft_max(tmp_path / "keys.tflite", 600))
    said = (
        r"keys\.tflite: TensorFlow Lite Micro aborts with signal 6 at operator 1 \(SOFTMAX, which makes 'weights'\): "
        "its rows have 600 keys, int8 soft-max can bear 256: lower max_keys"
    )
    assert re.fullmatch(rf".*/{said}", str(error))
    assert error.culprit is not None
    assert (error.culprit.operator, error.culprit.kind, error.culprit.tensor) == (1, "SOFTMAX", "weights")


def test_litert_refuses_a_division_by_zero(tmp_path: Path) -> None:
    error = fail(hand_made.quotient(tmp_path / "div.tflite"), "litert")
    assert "at operator 1 (DIV, which makes 'quotient'): its int8 divisor reaches zero" in str(error)


@pytest.mark.parametrize("kind", ["GELU", "SomebodysOwn"])
def test_an_operator_tflm_lacks_is_named_with_its_place(kind: str, tmp_path: Path) -> None:
    error = fail(hand_made.unary(tmp_path / "odd.tflite", kind))
    assert f"refuses it at operator 1 ({kind}, which makes 'odd'): this interpreter has no such operator" in str(error)


def test_an_operator_that_cant_take_int8_is_quoted(tmp_path: Path) -> None:
    error = fail(hand_made.unary(tmp_path / "exp.tflite", "EXP"))
    assert "at operator 1 (EXP, which makes 'odd'): " in str(error)
    assert "INT8 != FLOAT32" in str(error)


def test_a_tensor_of_unknown_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(InterpreterError, match=r"at operator 1 \(ABS, which makes 'odd'\): .*dynamic"):
        measure_arena(hand_made.unary(tmp_path / "dynamic.tflite", "ABS", (-1, 4, 4, 2)))


def test_half_a_file_is_no_tflite(tmp_path: Path) -> None:
    path = hand_made.quotient(tmp_path / "half.tflite")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TfliteError, match=r"half\.tflite: a damaged \.tflite file"):
        measure_arena(path)


@pytest.mark.parametrize("place", range(5))
def test_bisection_finds_every_place_as_counting_does(place: int, tmp_path: Path) -> None:
    model = hand_made.HandMade()
    tensors = [model.tensor(f"t{n}", hand_made.MAP, 0.1) for n in range(6)]
    for n in range(5):
        model.operator("ABS" if n == place else "RELU", [tensors[n]], [tensors[n + 1]])
    data = model.write(tmp_path / "m.tflite", tensors[0], tensors[-1]).read_bytes()
    tried: list[int] = []

    def fails(part: bytes) -> bool:
        codes = parse(part).subgraphs[0].operators or ()
        tried.append(len(codes))
        return len(codes) > place

    culprit = find_culprit(data, "", fails)
    assert culprit is not None
    assert (culprit.operator, culprit.kind, culprit.tensor) == (place, "ABS", f"t{place + 1}")
    assert len(tried) <= 5


def test_what_fails_without_any_operator_is_no_operators_fault(tmp_path: Path) -> None:
    data = hand_made.quotient(tmp_path / "m.tflite").read_bytes()
    assert find_culprit(data, "", lambda part: True) is None


def test_a_beginning_computes_what_the_whole_does_there(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    taken, _ = input_output(read_graph(data))
    inputs = np.random.default_rng(0).integers(-128, 128, (2, *taken.shape[1:]), np.int8)
    part = tmp_path / "part.tflite"
    part.write_bytes(truncate(data, 3))
    (made,) = read_graph(data).operators[2].outputs
    whole = np.concatenate([held[made] for held in trace_tensors(exported, inputs, [made])])
    for engine in ("litert", "tflm"):
        got = run_interpreter("tflm" if engine == "tflm" else "litert", part, inputs)
        np.testing.assert_array_equal(got, whole)


def test_the_wheel_is_asked_what_it_lacks() -> None:
    asked = ["CONV_2D", "SOFTMAX", "MEAN", "GELU", "MATRIX_SET_DIAG", "SomebodysOwn/2"]
    assert lacking_operators(asked) == {"GELU", "MATRIX_SET_DIAG", "SomebodysOwn/2"}
    assert read_graph(one_operator("SomebodysOwn/2")).kinds() == {"SomebodysOwn/2": 1}
