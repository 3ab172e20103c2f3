"""From a trained network to a ``.tflite`` that is proven to run on TensorFlow Lite Micro (extra: ``deploy``)."""

from __future__ import annotations

from sapool.export.c_engine import build_beside, build_c
from sapool.export.executorch import ExecutorchRecord, export_executorch
from sapool.export.header import model_header
from sapool.export.health import Finding, HealthLimits, HealthReport, check_health
from sapool.export.litert import CALIBRATION, ExportError, export_int8
from sapool.export.onnx import OnnxRecord, export_onnx
from sapool.export.optimize import OptimizeRecord, optimize_tflite
from sapool.export.runtime.interpreters import InterpreterError, measure_arena, measure_latency, run_interpreter
from sapool.export.runtime.parity import Parity, check_parity, run_images
from sapool.export.untrained import randomize_norms
from sapool.passes import FILE_PASSES, PASSES

__all__ = [
    "CALIBRATION",
    "FILE_PASSES",
    "PASSES",
    "ExecutorchRecord",
    "ExportError",
    "Finding",
    "HealthLimits",
    "HealthReport",
    "InterpreterError",
    "OnnxRecord",
    "OptimizeRecord",
    "Parity",
    "build_beside",
    "build_c",
    "check_health",
    "check_parity",
    "export_executorch",
    "export_int8",
    "export_onnx",
    "measure_arena",
    "measure_latency",
    "model_header",
    "optimize_tflite",
    "randomize_norms",
    "run_images",
    "run_interpreter",
]
