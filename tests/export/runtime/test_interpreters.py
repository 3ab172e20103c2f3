from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sapool.export import ExportError, InterpreterError, check_parity, export_int8, measure_arena, run_images
from sapool.tflite import TfliteError
from sapool.tflite.file import pack, parse, schema
from tests.conftest import images, pooled_net


def test_the_arena_is_what_the_allocator_prints(exported: Path) -> None:
    arena = measure_arena(exported)
    assert arena.total_bytes == arena.head_bytes + arena.tail_bytes
    # The input and the stem's map are alive together, so the head can't be smaller.
    assert arena.head_bytes >= 32 * 32 * 3 + 16 * 16 * 8
    assert arena.flash_bytes == exported.stat().st_size
    assert {"CONV_2D", "SOFTMAX", "BATCH_MATMUL"} <= set(arena.operators)
    assert arena.interpreter.startswith("tflite-micro ")


def test_tflm_and_litert_agree(exported: Path) -> None:
    parity = check_parity(exported, images(12))
    assert (parity.max_steps, parity.images) == (0, 12)


def test_parity_notices_a_wrong_output(exported: Path, tmp_path: Path) -> None:
    """Constants left behind the flatbuffer are what TFLM takes for activations: the check must see that."""
    from tests.tflite.test_file import externalize

    broken = tmp_path / "external.tflite"
    broken.write_bytes(externalize(exported.read_bytes()))
    right = run_images(exported, images(4), "tflm").astype(int)
    try:
        wrong = run_images(broken, images(4), "tflm").astype(int)
    except InterpreterError:
        return  # refusing it is an answer too
    assert np.abs(wrong - right).max() > 1


@pytest.mark.slow
def test_a_model_that_aborts_the_interpreter_is_no_export(tmp_path: Path) -> None:
    """576 uncapped keys: the soft-max's rows round to zero and a divisor with them, which ends the process it is in."""
    model = pooled_net(patch_size=1, window_norm=True, max_keys=None)
    with pytest.raises(ExportError, match="the int8 model does not run: LiteRT aborts with signal 6"):
        export_int8(model, [images(4, 48)], tmp_path / "keys.tflite", passes="none")
    assert not list(tmp_path.iterdir())


def test_a_dying_process_is_reported_with_its_signal(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, sys\nsys.stderr.write('Check failed: divisor != 0\\n')\nsys.stderr.flush()\nos.abort()\n"
    )
    monkeypatch.setattr("sapool.export.runtime.process._WORKER", worker)
    with pytest.raises(
        InterpreterError, match=r"\.tflite: TensorFlow Lite Micro aborts with signal 6: Check failed: divisor"
    ):
        measure_arena(exported)


def test_an_operator_tflm_lacks_is_named(exported: Path, tmp_path: Path) -> None:
    model = parse(exported.read_bytes())
    fb = schema()
    for code in model.operatorCodes:
        if code.builtinCode == fb.BuiltinOperator.SOFTMAX:
            code.builtinCode = code.deprecatedBuiltinCode = fb.BuiltinOperator.MATRIX_SET_DIAG
    path = tmp_path / "odd.tflite"
    path.write_bytes(pack(model))
    with pytest.raises(InterpreterError, match="MATRIX_SET_DIAG"):
        measure_arena(path)


def test_what_is_no_tflite_is_refused_before_the_interpreter(tmp_path: Path) -> None:
    with pytest.raises(TfliteError, match="no such file"):
        measure_arena(tmp_path / "x.tflite")


def test_a_file_is_parsed_once_to_be_measured(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def counting(data: bytes) -> Any:
        parsed.append(len(data))
        return parse(data)

    monkeypatch.setattr("sapool.tflite.read.parse", counting)
    monkeypatch.setattr("sapool.tflite.file.parse", counting)
    assert measure_arena(exported).total_bytes > 0
    assert parsed == [exported.stat().st_size]
