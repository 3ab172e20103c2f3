"""From a trained network to a ``.tflite`` that is proven to run on TensorFlow Lite Micro (extra: ``deploy``)."""

from __future__ import annotations

from sapool.export.header import model_header
from sapool.export.interpreters import InterpreterError, measure_arena, run_interpreter
from sapool.export.litert import ExportError, export_int8
from sapool.export.parity import Parity, check_parity, run_images
from sapool.export.passes import FILE_PASSES, PASSES
from sapool.export.untrained import randomize_norms

__all__ = [
    "FILE_PASSES",
    "PASSES",
    "ExportError",
    "InterpreterError",
    "Parity",
    "check_parity",
    "export_int8",
    "measure_arena",
    "model_header",
    "randomize_norms",
    "run_images",
    "run_interpreter",
]
