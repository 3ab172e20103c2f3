"""int8 against float32, layer by layer: how much of each layer's signal its int8 form keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.export.health.measured import LEAST_VALUES, Tally
from sapool.export.health.records import Finding, HealthLimits, LayerHealth
from sapool.export.health.static import finding
from sapool.export.health.view import NamedGraph
from sapool.tflite import Operator, Tensor
from sapool.tflite.file import short_name

# The file pass that turns one into the other keeps the sum.
_SAME = {"BATCH_MATMUL": "FULLY_CONNECTED"}
# Calibration averages the images' extremes, so that single values a little beyond the range are no fault.
_MARGIN_STEPS = 8


def match_layers(view: NamedGraph, reference: NamedGraph) -> tuple[list[tuple[int, int]], str]:
    """Pair the operators of an int8 file with those of the float32 file it was quantised from.

    Two operators are one layer if their kinds and their outputs' shapes and short names agree. Names occur more than
    once: their operators are paired in order where both files have as many of them.

    Returns:
        Pairs of places, and a note about those without a counterpart (empty if there is none).
    """
    theirs: dict[tuple[Any, ...], list[int]] = {}
    ours: dict[tuple[Any, ...], list[int]] = {}
    for known, file in ((ours, view), (theirs, reference)):
        for place in file.layers:
            known.setdefault(_signature(file, file.operators[place]), []).append(place)
    pairs = [
        pair
        for signature, places in ours.items()
        if len(places) == len(theirs.get(signature, ()))
        for pair in zip(places, theirs[signature], strict=True)
    ]
    count = len(view.layers)
    lone = count - len(pairs)
    note = f"{lone} of {count} layers against float32: the float file has none like them" if lone else ""
    return sorted(pairs), note


def _signature(view: NamedGraph, op: Operator) -> tuple[Any, ...]:
    made = [view.tensors[i] for i in op.outputs]
    return _SAME.get(op.kind, op.kind), *((tensor.shape, short_name(tensor.name)) for tensor in made)


class SnrTally:
    """Signal, int8 error and cut-off values of every paired layer's output, collected one inference at a time."""

    def __init__(self, view: NamedGraph, exact: NamedGraph, pairs: list[tuple[int, int]]) -> None:
        self._view = view
        self._power = {place: np.zeros(2) for place, _ in pairs}
        # (operator, what it makes, and what its counterpart makes)
        self._made = [(p, view.operators[p].outputs[0], exact.operators[q].outputs[0]) for p, q in pairs]
        self._cut = {made: np.zeros(2, np.int64) for _, made, _ in self._made}

    @property
    def wanted(self) -> list[int]:
        """The tensors needed of the float file."""
        return sorted({other for _, _, other in self._made})

    def add(self, held: Mapping[int, NDArray[Any]], reference: Mapping[int, NDArray[Any]]) -> None:
        """Take in the tensors of one inference of both files."""
        for place, index, other in self._made:
            if index not in held or other not in reference:
                continue
            expected = reference[other].astype(np.float64)
            tensor = self._view.tensors[index]
            error = to_real(tensor, held[index]) - expected
            self._power[place] += (np.square(expected).sum(), np.square(error).sum())
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


def to_real(tensor: Tensor, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return raw values in real units."""
    real = values.astype(np.float64)
    return real if tensor.scale == 0 else (real - tensor.zero_point) * tensor.scale


def check_snr(view: NamedGraph, snr: Mapping[int, float], limits: HealthLimits) -> list[Finding]:
    """Find the layers at which the int8 error becomes too large; what they feed is not named again."""
    makers = view.graph.makers
    found: list[Finding] = []
    lost: set[int] = set()
    for place, op in enumerate(view.operators):
        fed = {makers[i] for i in op.inputs if i in makers}
        if snr.get(place, np.inf) >= limits.layer_snr_db:
            lost.update({place} if place not in snr and fed & lost else ())  # a conversion hands it on
            continue
        lost.add(place)
        if not fed & lost:
            before = min((snr[i] for i in fed if i in snr), default=np.inf)
            message = f"its int8 output has {snr[place]:.1f} dB of signal over error" + (
                f", its inputs {before:.1f} dB" if np.isfinite(before) else ""
            )
            advice = "calibrate with typical images, or bound what this layer makes"
            figure = (snr[place], limits.layer_snr_db)
            found.append(finding(view, "layer_snr", "warning", place, figure, message, advice))
    return found


def layer_table(
    view: NamedGraph, tally: Tally, snr: Mapping[int, float], shares: Mapping[int, float]
) -> tuple[LayerHealth, ...]:
    """Return a row for every operator whose output was seen, from {operator: decibels} and {tensor: share cut off}."""
    return tuple(
        LayerHealth(
            place,
            op.kind,
            view.tensors[op.outputs[0]].name,
            view.modules.get(place, ""),
            snr.get(place),
            shares.get(op.outputs[0]),
        )
        for place, op in enumerate(view.operators)
        if op.outputs and op.outputs[0] in tally.ranges
    )
