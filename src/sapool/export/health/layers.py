"""int8 against float32, layer by layer: how much of each layer's signal its int8 form keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.export.health.measured import LEAST_VALUES, Tally
from sapool.export.health.records import Finding, HealthLimits, LayerHealth
from sapool.export.health.static import finding
from sapool.export.health.view import FileView, ViewOperator, ViewTensor
from sapool.tflite.file import short_name

# The file pass that turns one into the other keeps the sum.
_SAME = {"BATCH_MATMUL": "FULLY_CONNECTED"}
# Calibration averages the images' extremes, so that single values a little beyond the range are no fault.
_MARGIN_STEPS = 8


def match_layers(view: FileView, reference: FileView) -> tuple[list[tuple[ViewOperator, ViewOperator]], str]:
    """Pair the operators of an int8 file with those of the float32 file it was quantised from.

    Two operators are one layer if their kinds and their outputs' shapes and short names agree. Names occur more than
    once: their operators are paired in order where both files have as many of them.

    Returns:
        The pairs, and a note about those without a counterpart (empty if there is none).
    """
    theirs: dict[tuple[Any, ...], list[ViewOperator]] = {}
    ours: dict[tuple[Any, ...], list[ViewOperator]] = {}
    for known, file in ((ours, view), (theirs, reference)):
        for op in file.layers:
            known.setdefault(_signature(file, op), []).append(op)
    pairs = [
        pair
        for signature, operators in ours.items()
        if len(operators) == len(theirs.get(signature, ()))
        for pair in zip(operators, theirs[signature], strict=True)
    ]
    count = len(view.layers)
    lone = count - len(pairs)
    note = f"{lone} of {count} layers against float32: the float file has none like them" if lone else ""
    return sorted(pairs, key=lambda pair: pair[0].index), note


def _signature(view: FileView, op: ViewOperator) -> tuple[Any, ...]:
    made = [view.tensors[i] for i in op.outputs]
    return _SAME.get(op.kind, op.kind), *((tensor.shape, short_name(tensor.name)) for tensor in made)


class SnrTally:
    """Signal, int8 error and cut-off values of every paired layer's output, collected one inference at a time."""

    def __init__(self, view: FileView, pairs: list[tuple[ViewOperator, ViewOperator]]) -> None:
        self._view = view
        self._pairs = pairs
        self._power = {op.index: np.zeros(2) for op, _ in pairs}
        self._cut = {op.outputs[0]: np.zeros(2, np.int64) for op, _ in pairs}

    @property
    def wanted(self) -> list[int]:
        """The tensors needed of the float file."""
        return sorted({other.outputs[0] for _, other in self._pairs})

    def add(self, held: Mapping[int, NDArray[Any]], reference: Mapping[int, NDArray[Any]]) -> None:
        """Take in the tensors of one inference of both files."""
        for op, other in self._pairs:
            index = op.outputs[0]
            if index not in held or other.outputs[0] not in reference:
                continue
            expected = reference[other.outputs[0]].astype(np.float64)
            tensor = self._view.tensors[index]
            error = to_real(tensor, held[index]) - expected
            self._power[op.index] += (np.square(expected).sum(), np.square(error).sum())
            if held[index].dtype == np.int8 and tensor.scale > 0:
                low, high = to_real(tensor, np.array([-128 - _MARGIN_STEPS, 127 + _MARGIN_STEPS]))
                self._cut[index] += (((expected < low) | (expected > high)).sum(), expected.size)

    def clipped(self) -> dict[int, float]:
        """Return {int8 tensor: share of its float32 values that are outside its range, by more than 8 steps}."""
        shares = {index: (int(cut), int(count)) for index, (cut, count) in self._cut.items() if count}
        return {index: cut / count if cut >= LEAST_VALUES else 0.0 for index, (cut, count) in shares.items()}

    def snr_db(self) -> dict[int, float]:
        """Return {operator: decibels} where there is both a signal and an error."""
        return {
            index: float(10 * np.log10(signal / noise))
            for index, (signal, noise) in self._power.items()
            if signal > 0 and noise > 0
        }


def to_real(tensor: ViewTensor, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return raw values in real units."""
    real = values.astype(np.float64)
    return real if tensor.scale == 0 else (real - tensor.zero_point) * tensor.scale


def check_snr(view: FileView, snr: Mapping[int, float], limits: HealthLimits) -> list[Finding]:
    """Find the layers at which the int8 error becomes too large; what they feed is not named again."""
    makers = {tensor: op.index for op in view.operators for tensor in op.outputs}
    found: list[Finding] = []
    lost: set[int] = set()
    for op in view.operators:
        fed = {makers[i] for i in op.inputs if i in makers}
        if snr.get(op.index, np.inf) >= limits.layer_snr_db:
            lost.update({op.index} if op.index not in snr and fed & lost else ())  # a conversion hands it on
            continue
        lost.add(op.index)
        if not fed & lost:
            before = min((snr[i] for i in fed if i in snr), default=np.inf)
            message = f"its int8 output has {snr[op.index]:.1f} dB of signal over error" + (
                f", its inputs {before:.1f} dB" if np.isfinite(before) else ""
            )
            advice = "calibrate with typical images, or bound what this layer makes"
            figure = (snr[op.index], limits.layer_snr_db)
            found.append(finding(view, "layer_snr", "warning", op, figure, message, advice))
    return found


def layer_table(
    view: FileView, tally: Tally, snr: Mapping[int, float], shares: Mapping[int, float]
) -> tuple[LayerHealth, ...]:
    """Return a row for every operator whose output was seen, from {operator: decibels} and {tensor: share cut off}."""
    return tuple(
        LayerHealth(
            op.index,
            op.kind,
            view.tensors[op.outputs[0]].name,
            view.modules.get(op.index, ""),
            snr.get(op.index),
            shares.get(op.outputs[0]),
        )
        for op in view.operators
        if op.outputs and op.outputs[0] in tally.ranges
    )
