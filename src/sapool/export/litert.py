"""From a PyTorch network to an int8 ``.tflite`` with channel-last input."""

from __future__ import annotations

import copy
import itertools
import logging
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sapool.base.errors import SapoolError
from sapool.base.extras import require
from sapool.base.files import write_bytes_atomically
from sapool.base.records import ExportRecord
from sapool.export._quiet import captured_output
from sapool.export.finite import why_not_finite
from sapool.export.refusal import explain_refusal, raising_module
from sapool.export.runtime.interpreters import InterpreterError
from sapool.export.runtime.parity import dequantize, run_images
from sapool.export.unsupported import why_unsupported
from sapool.networks.traced import evaluating
from sapool.passes import FLAT_PASSES, apply_file_passes, apply_passes, choose_passes
from sapool.tflite import Graph, count_macs, read_graph, write_graph
from sapool.tflite.edit import shorten_names
from sapool.tflite.ends import input_output

CALIBRATION_LIMIT = 256
# How the range of an activation is found; a model's int8 accuracy depends on it.
CALIBRATION = "extremes"
_CHECKED_IMAGES = 16
_PURPOSE = "exporting to .tflite"


class ExportError(SapoolError, ValueError):
    """A network can't be converted or quantised; the message says what failed."""


def export_int8(
    model: nn.Module,
    calibration: Iterable[Tensor],
    path: str | Path,
    *,
    passes: str | Sequence[str] = "all",
    float_path: str | Path | None = None,
    flat_path: str | Path | None = None,
) -> ExportRecord:
    """Quantise ``model`` to int8 (weights per channel, activations per tensor) and write it as a ``.tflite``.

    The file takes one image, channel-last (1, H, W, C), as int8. Its constants are inline, where the micro-controller
    runtime expects them. The network itself is not changed.

    Args:
        model: network (N, C, H, W) -> (N, classes).
        calibration: batches of typical images, (N, C, H, W) float; the first 256 images are used.
        path: where to write; replaced as a whole if it exists.
        passes: ``"all"``, ``"none"``, or names of :data:`sapool.passes.PASSES`.
        float_path: where to write the network as a float32 ``.tflite``, if anywhere: a reference, layer by layer, for
            :func:`sapool.export.check_health`.
        flat_path: where to write the int8 file without tiles and chunks, if anywhere: the same outputs to the bit, and
            every layer there to be looked at.

    Returns:
        What was done, with the largest error of the rewrites and the int8 signal-to-noise ratio on calibration images.

    Raises:
        ValueError: no calibration images, an unknown pass, or a network that the converter refuses.
        ImportError: the ``deploy`` extra is not installed.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    chosen = choose_passes(passes)
    if refusal := why_unsupported(model) or why_not_finite(model):
        raise ExportError(refusal)
    images = _collect(calibration)
    rewritten = copy.deepcopy(model).to("cpu", torch.float32).eval()
    checked = images[:_CHECKED_IMAGES]
    with evaluating(rewritten):
        expected = _run(rewritten, checked)
        applied = apply_passes(rewritten, checked, chosen)
        got = rewritten(checked)
    if not isinstance(got, Tensor) or got.dim() != 2:
        raise ExportError("export_int8 takes a network that maps images (N, C, H, W) to scores (N, classes)")
    # Reading brings the constants inline, wherever the quantiser put them.
    float_data = _convert(rewritten, images[:1])
    file = read_graph(_quantize(float_data, images))
    flat = tuple(name for name in chosen if name in FLAT_PASSES)
    applied += apply_file_passes(file, flat)
    shorten_names(file)
    if flat_path is not None:
        write_bytes_atomically(Path(flat_path), write_graph(file))
    applied += apply_file_passes(file, tuple(name for name in chosen if name not in flat))
    data = write_graph(file)
    scores = _int8_scores(file, data, checked)
    if float_path is not None:
        twin = read_graph(float_data)
        apply_file_passes(twin, flat)  # the same operators as the flat file has, to be compared one by one
        write_bytes_atomically(Path(float_path), write_graph(twin))
    write_bytes_atomically(Path(path), data)
    return ExportRecord(
        path=str(path),
        flash_bytes=len(data),
        macs=count_macs(file),
        passes=applied,
        float_error=float((got - expected).abs().max()),
        int8_snr_db=_snr_db(expected, scores),
    )


def _run(model: nn.Module, images: Tensor) -> Tensor:
    try:
        return model(images)
    except (RuntimeError, TypeError, ValueError) as error:
        size = tuple(images.shape[1:])
        place = raising_module(model, error)
        where = f"module {place.module!r} ({place.kind}) fails with: " if place and place.module else ""
        raise ExportError(
            f"{type(model).__name__} can't take images of {size} (C, H, W): {where}{_reason(error, '')}"
        ) from error


def _collect(calibration: Iterable[Tensor]) -> Tensor:
    batches: list[Tensor] = []
    for batch in calibration:
        if not isinstance(batch, Tensor) or batch.dim() != 4 or not batch.is_floating_point():
            raise ValueError(
                "calibration must yield float tensors of shape (N, C, H, W), got "
                + (f"{batch.dtype} {tuple(batch.shape)}" if isinstance(batch, Tensor) else type(batch).__name__)
            )
        if batches and batch.shape[1:] != batches[0].shape[1:]:
            sizes = f"{tuple(batches[0].shape[1:])} and {tuple(batch.shape[1:])}"
            raise ValueError(f"calibration images must all have one size (C, H, W), got {sizes}")
        if not torch.isfinite(batch).all():
            raise ValueError("calibration images must be finite, got NaN or infinity")
        batches.append(batch.detach().to("cpu", torch.float32))
        if sum(len(b) for b in batches) >= CALIBRATION_LIMIT:
            break
    if not any(len(b) for b in batches):
        raise ValueError("calibration must hold at least one image, got none")
    return torch.cat(batches)[:CALIBRATION_LIMIT]


def _convert(model: nn.Module, image: Tensor) -> bytes:
    """Return the float ``.tflite`` of a network in eval mode, for one channel-last image."""
    sample = image.permute(0, 2, 3, 1).contiguous()
    with tempfile.TemporaryDirectory() as folder, captured_output() as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litert_torch = require("litert_torch", "deploy", _PURPOSE)
        litert_torch.config.show_progress = False
        channel_last = litert_torch.to_channel_last_io(model, args=[0]).eval()
        path = Path(folder) / "float.tflite"
        try:
            litert_torch.convert(channel_last, (sample,)).export(str(path))
        except Exception as error:  # the converter wraps torch, MLIR and its own exceptions
            reason = explain_refusal(model, image, error) or _reason(error, said())
            raise ExportError(f"the converter refuses {type(model).__name__}: {reason}") from error
        return path.read_bytes()


def _quantize(float_model: bytes, images: Tensor) -> bytes:
    samples = images.permute(0, 2, 3, 1).contiguous().numpy()
    logging.getLogger("absl").setLevel(logging.ERROR)
    with captured_output() as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantizer_module = require("ai_edge_quantizer.quantizer", "deploy", _PURPOSE)
        recipe = require("ai_edge_quantizer.recipe", "deploy", _PURPOSE)
        qtyping = require("ai_edge_quantizer.qtyping", "deploy", _PURPOSE)
        algorithms = require("ai_edge_quantizer.algorithm_manager", "deploy", _PURPOSE)
        try:
            quantizer = quantizer_module.Quantizer(bytearray(float_model), recipe.static_wi8_ai8())
            # TFLM has SQRT in float only.
            quantizer.update_quantization_recipe(
                ".*", qtyping.TFLOperationName.SQRT, algorithm_key=algorithms.AlgorithmName.NO_QUANTIZE
            )
            statistics = _calibrate(float_model, quantizer.get_quantization_recipe(), samples)
            result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
        except Exception as error:  # the quantiser raises many kinds; each means the same to the caller
            raise ExportError(f"the quantiser refuses the network: {_reason(error, said())}") from error
    return bytes(result.quantized_model)


def _calibrate(float_model: bytes, recipe: Any, samples: NDArray[np.float32]) -> Any:
    """Return the smallest and largest value of every tensor over all images (N, H, W, C).

    The quantiser's own habit, a moving average of each image's extremes, cuts off what only some images reach: a
    thirteenth of the scores of trained networks, and up to a tenth of their accuracy (``benchmarks/calibration.py``).
    """
    calibrator = require("ai_edge_quantizer.calibrator", "deploy", _PURPOSE)
    recipes = require("ai_edge_quantizer.recipe_manager", "deploy", _PURPOSE)
    update = require("ai_edge_quantizer.utils.qsv_utils", "deploy", _PURPOSE).min_max_update
    manager = recipes.RecipeManager()
    manager.load_quantization_recipe(recipe)
    watching = calibrator.Calibrator(float_model, num_threads=1, qsv_update_func=update)
    watching.calibrate(_signature_samples(float_model, samples), manager)
    return watching.get_model_qsvs()


def _signature_samples(model: bytes, samples: NDArray[np.float32]) -> dict[str, list[dict[str, NDArray[np.float32]]]]:
    (signature,) = read_graph(model).signatures
    place = next(iter(signature.inputs))
    return {signature.key: [{place: sample[None]} for sample in samples]}


def _int8_scores(graph: Graph, data: bytes, images: Tensor) -> NDArray[np.float32]:
    """Return the int8 model's scores (N, classes) before anything is written: one that can't run is no export."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.tflite"
        path.write_bytes(data)
        try:
            outputs = run_images(path, images)
        except InterpreterError as error:
            raise ExportError(f"the int8 model does not run: {str(error).partition(': ')[2]}") from error
    return dequantize(input_output(graph)[1], outputs)


def _reason(error: Exception, said: str) -> str:
    """Return the first telling line of an exception, or of what the converter printed."""
    lines = itertools.chain(str(error).splitlines(), reversed(said.splitlines()))
    return next((line.strip() for line in lines if line.strip()), type(error).__name__)[:300]


def _snr_db(expected: Tensor, got: NDArray[np.float32]) -> float | None:
    reference = expected.numpy().astype(np.float64)
    signal, noise = float(np.square(reference).mean()), float(np.square(got - reference).mean())
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
