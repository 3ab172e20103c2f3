"""Is an int8 ``.tflite`` sound: what runs, what it holds in between, and how far it is from the float network."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sapool import tflite
from sapool.export.health import static
from sapool.export.health.layers import SnrTally, check_snr, layer_table, match_layers
from sapool.export.health.measured import (
    Tally,
    check_dead,
    check_divisors,
    check_rows,
    check_saturation,
    saturated_shares,
)
from sapool.export.health.records import Finding, HealthFigures, HealthLimits, HealthReport, LayerHealth
from sapool.export.health.view import NamedGraph, named_graph, with_modules
from sapool.export.runtime.blame import truncate
from sapool.export.runtime.interpreters import InterpreterError, run_interpreter, trace_tensors
from sapool.export.runtime.parity import dequantize, quantize_images
from sapool.networks.traced import evaluating
from sapool.tflite.ends import input_output
from sapool.tflite.file import load_tflite

__all__ = ["Finding", "HealthFigures", "HealthLimits", "HealthReport", "LayerHealth", "check_health"]

TRACED_IMAGES = 16  # every tensor of each is written to a file: 224 px make some ten megabytes an image


@dataclass
class _Check:
    """A check under way."""

    path: Path
    data: bytes
    view: NamedGraph
    images: Tensor
    limits: HealthLimits
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int = 0  # how many of its operators run


def check_health(
    path: str | Path,
    images: Tensor,
    reference: nn.Module | None = None,
    *,
    float_path: str | Path | None = None,
    limits: HealthLimits | None = None,
) -> HealthReport:
    """Run a ``.tflite`` on images, look at every tensor in it, and report what is wrong, where and what to do.

    Checked are: whether LiteRT and TFLM run it and agree; operators that TFLM lacks; tensors of unknown size; int8
    soft-maxes (keys, row sums), divisors, saturated and dead tensors; stretches in float32; and, with a reference, the
    classes chosen and the signal left in every layer.

    Args:
        path: the file; any ``.tflite`` with one input and one output. A float32 one is a float island as a whole.
        images: (N, C, H, W) float, typical ones; every tensor is looked at on the first 16.
        reference: the network it was exported from, (N, C, H, W) -> (N, classes); names modules, gives the classes.
        float_path: the float32 ``.tflite`` it was quantised from (``export_int8(..., float_path=...)``): needed for
            the layers' signal-to-noise ratios, and gives the classes without ``reference``.
        limits: where a figure becomes a finding.

    Returns:
        The report; ``healthy`` if nothing was found.

    Raises:
        TfliteError: a file is no usable ``.tflite``.
        ValueError: images that the file does not take.
        ImportError: the ``deploy`` extra is not installed.
    """
    data, graph = load_tflite(path), tflite.read_graph(path, fixed=False)
    taken, made = input_output(graph)
    _check_images(taken, images)
    view, exact, pairs, notes = _view(graph, reference, float_path)
    check = _Check(Path(path), data, view, images, limits or HealthLimits(), notes=notes)
    check.findings += static.check_operators(view) + static.check_shapes(view)
    check.findings += static.check_keys(view, check.limits) + static.check_islands(view)
    outputs, steps = _run_both(check, taken)
    tally, layers = _trace(check, taken, (exact, pairs), None if float_path is None else Path(float_path))
    agreement, output_snr = _against_reference(check, outputs, made, reference, float_path)
    return _report(check, tally, layers, (agreement, output_snr, steps))


def _view(
    graph: tflite.Graph, reference: nn.Module | None, float_path: str | Path | None
) -> tuple[NamedGraph, NamedGraph, list[tuple[int, int]], list[str]]:
    """Return the file and the float file with modules' names, pairs of their layers, and notes on what is not."""
    view = named_graph(graph)
    if float_path is None:
        note = "the layers' signal-to-noise ratios: no float .tflite was given"
        return with_modules(view, reference, {}), view, [], [note]
    exact = named_graph(tflite.read_graph(float_path))
    pairs, note = match_layers(view, exact)
    modules = {place: exact.modules.get(other, "") for place, other in pairs}
    return with_modules(view, reference, modules), exact, pairs, [note] if note else []


def _check_images(taken: tflite.Tensor, images: Tensor) -> None:
    wanted = taken.shape[1:]
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point() or not len(images):
        raise ValueError("images must be a float tensor of shape (N, C, H, W) with at least one image")
    got = tuple(images.permute(0, 2, 3, 1).shape[1:])
    if got != wanted:
        raise ValueError(f"the file takes images of {wanted} (H, W, C), got {got}")


def _run_both(check: _Check, taken: tflite.Tensor) -> tuple[NDArray[Any] | None, int | None]:
    """Return LiteRT's outputs and how far TFLM's are from them, where they run."""
    inputs = quantize_images(taken, check.images)
    check.runs = len(check.view.operators)
    outputs: list[NDArray[Any]] = []
    for engine, name in (("litert", "runs"), ("tflm", "tflm_runs")):
        try:
            outputs.append(run_interpreter("tflm" if engine == "tflm" else "litert", check.path, inputs))
        except InterpreterError as error:
            _add_crash(check, name, error)
            if engine == "litert":
                check.runs = error.culprit.operator if error.culprit else 0
    if len(outputs) < 2:
        return (outputs[0] if check.runs == len(check.view.operators) and outputs else None), None
    expected, got = (made.reshape(len(inputs), -1).astype(np.float64) for made in outputs)
    if outputs[0].dtype != np.int8:
        return outputs[0], None
    steps = int(np.abs(got - expected).max())
    if steps > check.limits.parity_steps:
        message = f"TensorFlow Lite Micro's outputs differ from LiteRT's by {steps} int8 steps"
        advice = "compare the two on shorter networks: one of their kernels computes something else"
        figure = (steps, check.limits.parity_steps)
        check.findings.append(static.finding(check.view, "parity", "error", None, figure, message, advice))
    return outputs[0], steps


def _add_crash(check: _Check, name: str, error: InterpreterError) -> None:
    culprit = error.culprit
    told = {(f.operator, f.kind) for f in check.findings if f.check in ("tflm_operators", "static_shape", "runs")}
    if name == "tflm_runs" and culprit is not None and (culprit.operator, culprit.kind) in told:
        return  # the same, said before
    place = None if culprit is None else culprit.operator
    message = str(error).removeprefix(f"{check.path}: ").replace(f" at {culprit}", "")
    figure = (0 if culprit is None else culprit.operator, len(check.view.operators))
    advice = "change this layer: what is in front of it runs" if culprit else "no operator alone is at fault"
    check.findings.append(static.finding(check.view, name, "error", place, figure, message, advice))


def _trace(
    check: _Check, taken: tflite.Tensor, matched: tuple[NamedGraph, list[tuple[int, int]]], float_path: Path | None
) -> tuple[Tally, SnrTally]:
    """Look at every tensor of the part that runs."""
    exact_view, pairs = matched[0], [pair for pair in matched[1] if pair[0] < check.runs]
    tally = Tally(check.view)
    if check.runs == 0:
        check.notes.append("what the tensors hold: no operator of it runs in LiteRT")
        return tally, SnrTally(check.view, exact_view, [])
    images = check.images[:TRACED_IMAGES]
    snr = SnrTally(check.view, exact_view, pairs)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.tflite"
        whole = check.runs == len(check.view.operators)
        part.write_bytes(check.data if whole else truncate(check.data, check.runs))
        held = trace_tensors(part, quantize_images(taken, images), check.view.computed(check.runs))
        if float_path is None or not pairs:
            for tensors in held:
                tally.add(tensors, check.limits)
        else:
            exact = images.permute(0, 2, 3, 1).contiguous().numpy()
            for tensors, expected in zip(held, trace_tensors(float_path, exact, snr.wanted), strict=True):
                tally.add(tensors, check.limits)
                snr.add(tensors, expected)
    shares = saturated_shares(check.view, tally, snr.clipped())
    check.findings += check_rows(check.view, tally, check.limits) + check_divisors(check.view, tally, check.limits)
    check.findings += check_dead(check.view, tally)
    check.findings += check_saturation(check.view, shares, snr.clipped(), check.limits)
    check.findings += check_snr(check.view, snr.snr_db(), check.limits)
    return tally, snr


def _against_reference(
    check: _Check,
    outputs: NDArray[Any] | None,
    made: tflite.Tensor,
    reference: nn.Module | None,
    float_path: str | Path | None,
) -> tuple[float | None, float | None]:
    """Return the share of images with the reference's class, and the outputs' signal over error in decibels."""
    expected = _expected(check.images, reference, float_path)
    if expected is None or outputs is None:
        check.notes.append(
            "the classes chosen: " + ("no reference was given" if expected is None else "it does not run")
        )
        return None, None
    got = dequantize(made, outputs)
    if expected.shape != got.shape:
        raise ValueError(f"the reference must map images to {got.shape[1:]} values, it gives {expected.shape[1:]}")
    agreement = float((expected.argmax(1) == got.argmax(1)).mean()) if got.ndim == 2 else None
    if agreement is not None and agreement < check.limits.top1_agreement:
        message = f"int8 and reference choose the same class on {agreement:.1%} of {len(got)} images"
        advice = "calibrate with typical images; look at the layers' signal-to-noise ratios"
        figure = (agreement, check.limits.top1_agreement)
        check.findings.append(static.finding(check.view, "top1", "warning", None, figure, message, advice))
    signal, noise = float(np.square(expected).mean()), float(np.square(got - expected).mean())
    return agreement, float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None


def _expected(images: Tensor, reference: nn.Module | None, float_path: str | Path | None) -> NDArray[np.float32] | None:
    if reference is not None:
        like = next(reference.parameters(), torch.empty(0))
        with evaluating(reference):
            return reference(images.to(like.device, like.dtype)).float().cpu().numpy()
    if float_path is None:
        return None
    return run_interpreter("litert", float_path, images.permute(0, 2, 3, 1).contiguous().numpy())


def _report(
    check: _Check, tally: Tally, layers: SnrTally, ends: tuple[float | None, float | None, int | None]
) -> HealthReport:
    snr, shares = layers.snr_db(), saturated_shares(check.view, tally, layers.clipped())
    agreement, output_snr, steps = ends
    keys = static.softmax_keys(check.view).values()
    figures = HealthFigures(
        softmax_keys=max(keys, default=None),
        softmax_error=max(map(tally.softmax_error, tally.row_sums), default=None),
        float_operators=sum(map(len, static.float_islands(check.view))),
        lacking_operators=sum(finding.check == "tflm_operators" for finding in check.findings),
        divisor_steps=min(tally.divisor_steps().values(), default=None),
        saturated_share=max(shares.values(), default=None),
        dead_tensors=len(tally.dead()),
        worst_layer_snr_db=min(snr.values(), default=None),
        output_snr_db=output_snr,
        top1_agreement=agreement,
        parity_steps=steps,
    )
    last = len(check.view.operators)
    found = sorted(check.findings, key=lambda f: (f.severity != "error", last if f.operator is None else f.operator))
    traced = min(len(check.images), TRACED_IMAGES) if check.runs else 0
    rows = layer_table(check.view, tally, snr, shares)
    return HealthReport(str(check.path), len(check.images), traced, tuple(found), figures, rows, tuple(check.notes))
