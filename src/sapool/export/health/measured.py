"""Checks on what a run holds in between: a histogram of every int8 tensor, and the soft-maxes' row sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.export.health.records import Finding, HealthLimits, Severity
from sapool.export.health.static import finding, softmax_keys
from sapool.export.health.view import NamedGraph
from sapool.tflite import Operator

_CODES = 256
LEAST_VALUES = 8  # fewer values at an end are chance: the calibration's own extremes lie there
_LEAST_SPREAD = 32  # codes: a channel that hardly varies may lie at an end as a whole, unclipped
# Bounded on purpose, so that values at an end are no loss; the others' bound counts only if the range reaches it.
_CLAMPING = {"LOGISTIC", "SOFTMAX", "TANH", "HARD_SWISH", "MINIMUM", "MAXIMUM"}
_BOUNDS = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0, "RELU_0_TO_1": 1.0}
# These hand on values as they are: what was clamped stays clamped.
_MOVING = {
    "RESHAPE", "TRANSPOSE", "MAX_POOL_2D", "CONCATENATION", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "STRIDED_SLICE",
    "SQUEEZE", "EXPAND_DIMS", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "GATHER", "PAD", "PADV2", "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE", "QUANTIZE", "DEQUANTIZE", "BROADCAST_TO", "REVERSE_V2", "REDUCE_MAX", "SELECT_V2",
}  # fmt: skip


class Tally:
    """What a run showed, collected one inference at a time."""

    def __init__(self, view: NamedGraph) -> None:
        self.view = view
        self.histograms: dict[int, NDArray[np.int64]] = {}
        self.ranges: dict[int, tuple[float, float]] = {}
        self.counts: dict[int, int] = {}
        self.row_sums: dict[int, tuple[float, float]] = {}
        self.stray_rows: dict[int, int] = {}

    def add(self, held: Mapping[int, NDArray[Any]], limits: HealthLimits) -> None:
        """Take in the tensors of one inference, {index: raw values}."""
        for index, values in held.items():
            if values.dtype == np.int8:
                self.histograms[index] = self.histograms.get(index, 0) + _channel_histograms(values)
            if values.size and values.dtype != np.bool_:
                self.ranges[index] = _widened(self.ranges.get(index), float(values.min()), float(values.max()))
                self.counts[index] = self.counts.get(index, 0) + values.size
        for index in softmax_keys(self.view):
            tensor = self.view.operators[index].outputs[0]
            if tensor in held:
                self._add_rows(index, held[tensor], limits)

    def _add_rows(self, index: int, values: NDArray[Any], limits: HealthLimits) -> None:
        tensor = self.view.tensors[self.view.operators[index].outputs[0]]
        sums = ((values.astype(np.float64) - tensor.zero_point) * tensor.scale).sum(-1)
        self.row_sums[index] = _widened(self.row_sums.get(index), float(sums.min()), float(sums.max()))
        stray = int((np.abs(sums - 1) > limits.softmax_error).sum())
        self.stray_rows[index] = self.stray_rows.get(index, 0) + stray

    def softmax_error(self, index: int) -> float:
        """Return the largest distance of a soft-max's row sum from 1."""
        low, high = self.row_sums[index]
        return max(abs(1 - low), abs(high - 1))

    def divisor_steps(self) -> dict[int, int]:
        """Return {operator: least distance of its divisor from zero, in steps} of every int8 DIV."""
        steps = {}
        for place, op in self.view.graph.of_kind("DIV"):
            tensor = self.view.tensors[op.inputs[1]]
            seen = self.histograms.get(op.inputs[1])
            values = tensor.values
            if seen is None and values is not None and tensor.dtype == "int8":
                seen = _channel_histograms(values)
            if seen is not None:
                codes = np.flatnonzero(seen.sum(0)) - _CODES // 2
                steps[place] = int(np.abs(codes - tensor.zero_point).min())
        return steps

    def piled_share(self, index: int) -> float:
        """Return the share of an int8 tensor's values that pile up at an end of its range.

        Only what a channel's end code holds beyond its two neighbours counts: a distribution that merely reaches the
        end does not rise there. An end that stands for zero (the calibration saw nothing beyond) is where sparse values
        belong.
        """
        seen = self.histograms[index]
        zero_point = self.view.tensors[index].zero_point
        codes = np.arange(_CODES)
        first, last = np.where(seen > 0, codes, _CODES).min(1), np.where(seen > 0, codes, -1).max(1)
        seen = seen[last - first >= _LEAST_SPREAD]
        low = seen[:, 0] - seen[:, 1:3].max(1) if zero_point > -_CODES // 2 else 0
        high = seen[:, -1] - seen[:, -3:-1].max(1) if zero_point < _CODES // 2 - 1 else 0
        piled = int(np.maximum(low, 0).sum() + np.maximum(high, 0).sum())
        return piled / int(self.histograms[index].sum()) if piled >= LEAST_VALUES else 0.0

    def dead(self) -> list[int]:
        """Return the tensors that hold one value at every place of every image."""
        return [index for index, (low, high) in self.ranges.items() if low == high and self.counts[index] > 1]


def clamped_tensors(view: NamedGraph) -> set[int]:
    """Return the tensors whose values are bounded on purpose: an activation's, what only moves them, and the image."""
    clamped = set(view.graph.inputs)
    for op in view.operators:
        if _is_bounded(view, op) or (op.kind in _MOVING and any(i in clamped for i in op.inputs)):
            clamped.update(op.outputs)
    return clamped


def _is_bounded(view: NamedGraph, op: Operator) -> bool:
    bound = _BOUNDS.get(op.kind) or _BOUNDS.get(op.options.activation)
    if bound is None or not op.outputs:
        return op.kind in _CLAMPING
    tensor = view.tensors[op.outputs[0]]
    return (_CODES // 2 - 1 - tensor.zero_point + 1) * tensor.scale >= bound


def check_rows(view: NamedGraph, tally: Tally, limits: HealthLimits) -> list[Finding]:
    """Find the int8 soft-maxes whose rows do not sum to 1."""
    found = []
    for index, (low, high) in tally.row_sums.items():
        worst = tally.softmax_error(index)
        if worst > limits.softmax_error:
            message = (
                f"{tally.stray_rows[index]} rows sum to something else than 1 by more than {limits.softmax_error:.0%} "
                f"(from {low:.3f} to {high:.3f})"
            )
            advice = "use fewer keys (max_keys), of which each weighs more than a step of 1/256"
            figure = (worst, limits.softmax_error)
            found.append(finding(view, "softmax_sum", "warning", index, figure, message, advice))
    return found


def check_divisors(view: NamedGraph, tally: Tally, limits: HealthLimits) -> list[Finding]:
    """Find the int8 divisors that reach zero, or nearly."""
    found = []
    for index, steps in tally.divisor_steps().items():
        if steps > limits.divisor_steps:
            continue
        op = view.operators[index]
        message = "divides by zero" if steps == 0 else f"its int8 divisor comes within {steps} steps of zero"
        advice = "export the pooling as a soft-max inside the window (pass window_softmax), or bound its weights"
        severity: Severity = "error" if steps == 0 else "warning"
        figure = (steps, limits.divisor_steps)
        found.append(finding(view, "zero_divisor", severity, index, figure, message, advice, op.inputs[1]))
    return found


def saturated_shares(view: NamedGraph, tally: Tally, clipped: Mapping[int, float]) -> dict[int, float]:
    """Return {tensor: share of values that its int8 range cuts off}.

    Args:
        view: the file.
        tally: what its run held.
        clipped: {tensor: share of float32 values outside the range}, where they are known. The other int8 tensors are
            judged by what piles up at their ends, unless an activation bounds them or an operator merely moves them.
    """
    clamped = clamped_tensors(view)
    made = [tensor for op in view.operators if op.kind not in _MOVING for tensor in op.outputs]
    piled = {t: tally.piled_share(t) for t in made if t in tally.histograms and t not in clamped and t not in clipped}
    return {**piled, **clipped}


def check_saturation(
    view: NamedGraph, shares: Mapping[int, float], clipped: Mapping[int, float], limits: HealthLimits
) -> list[Finding]:
    """Find the tensors whose int8 range cuts values off; what is made from them is not named again.

    Args:
        view: the file.
        shares: from :func:`saturated_shares`.
        clipped: those of them that are known from float32 values.
        limits: where a share becomes a finding.
    """
    found: list[Finding] = []
    lost: set[int] = set()
    for place, op in enumerate(view.operators):
        share, tensor = max(((shares.get(tensor, 0.0), tensor) for tensor in op.outputs), default=(0.0, -1))
        limit = limits.saturated_share if tensor in clipped else limits.piled_share
        fed = any(i in lost for i in op.inputs)
        if fed or share > limit:
            lost.update(op.outputs)
        if share > limit and not fed:
            what = "are outside its int8 range" if tensor in clipped else "pile up at an end of its int8 range"
            advice = "calibrate with more images, as they will come"
            message = f"{share:.1%} of its values {what}"
            found.append(finding(view, "saturated", "warning", place, (share, limit), message, advice, tensor))
    return found


def check_dead(view: NamedGraph, tally: Tally) -> list[Finding]:
    """Find where values that vary become one value; what follows from it is not named again."""
    dead = set(tally.dead())
    found = []
    for place, op in enumerate(view.operators):
        fed = [i for i in op.inputs if i in tally.ranges]
        made = [i for i in op.outputs if i in dead]
        if made and fed and not any(i in dead for i in fed):
            tensor = view.tensors[made[0]]
            value = (tally.ranges[made[0]][0] - tensor.zero_point) * (tensor.scale or 1.0)
            message = f"is {value:.4g} at every place of every image"
            advice = "train the branch, lower its scale, or leave it out"
            found.append(finding(view, "dead", "warning", place, (1, 1), message, advice, made[0]))
    return found


def _widened(known: tuple[float, float] | None, low: float, high: float) -> tuple[float, float]:
    return (low, high) if known is None else (min(known[0], low), max(known[1], high))


def _channel_histograms(values: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return how often each code occurs in each channel (the last side), (C, 256)."""
    channels = values.shape[-1] if values.ndim else 1
    codes = values.reshape(-1, channels).astype(np.int64) + _CODES // 2 + _CODES * np.arange(channels)
    return np.bincount(codes.ravel(), minlength=_CODES * channels).reshape(channels, _CODES)
