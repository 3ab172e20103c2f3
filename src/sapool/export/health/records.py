"""What a health check found: findings, layers and figures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from sapool.base.tflm_limits import MOST_KEYS

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class HealthLimits:
    """Where a figure becomes a finding.

    Attributes:
        softmax_error: how far an int8 soft-max row's sum may be from 1.
        softmax_keys: keys of an int8 soft-max row: its output has steps of 1/256, so more equal keys round to zero.
        divisor_steps: the least distance of an int8 divisor from zero, in steps: at 8, rounding alone (half a step)
            moves the quotient by 6 %.
        saturated_share: share of a tensor's float32 values that may be outside its int8 range, by more than 8 steps.
        piled_share: the same where no float file tells, of the values that pile up at an end of the range. Calibration
            averages the images' extremes, which alone puts 1 to 2 % of a sound network's values there.
        layer_snr_db: a layer's signal over its int8 error, in decibels: at 10, the error is a tenth of the power.
        top1_agreement: share of images on which int8 and reference choose the same class.
        parity_steps: how far TFLM's outputs may be from LiteRT's, in int8 steps.
    """

    softmax_error: float = 0.05
    softmax_keys: int = MOST_KEYS
    divisor_steps: int = 8
    saturated_share: float = 0.01
    piled_share: float = 0.05
    layer_snr_db: float = 10.0
    top1_agreement: float = 0.9
    parity_steps: int = 1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: ``runs``, ``tflm_runs``, ``tflm_operators``, ``static_shape``, ``softmax_keys``, ``softmax_sum``,
            ``float_island``, ``zero_divisor``, ``saturated``, ``dead``, ``layer_snr``, ``top1`` or ``parity``.
        severity: ``error``: the model does not run or computes something else; ``warning``: it loses accuracy, or RAM.
        operator: its place in the main graph; None where the finding belongs to no operator.
        kind: the operator's name: ``SOFTMAX``.
        tensor: the tensor's name in the file.
        module: the PyTorch module it came from; empty where that is not known.
        measured: the figure.
        limit: what it was held against.
        message: what was found.
        advice: what to do.
    """

    check: str
    severity: Severity
    operator: int | None
    kind: str
    tensor: str
    module: str
    measured: float
    limit: float
    message: str
    advice: str

    def __str__(self) -> str:
        """Return the finding in one line."""
        place = f"operator {self.operator} ({self.kind}, {self.module or self.tensor!r}): " if self.kind else ""
        return f"{self.severity}: {place}{self.message}; {self.advice}"


@dataclass(frozen=True)
class LayerHealth:
    """One operator's output, int8 held against float32.

    Attributes:
        operator: its place in the main graph.
        kind: its name.
        tensor: the name of what it makes.
        module: the PyTorch module it came from; empty where that is not known.
        snr_db: signal over int8 error in decibels; None where one of the two is zero or no float file was given.
        saturated_share: share of the float32 values outside the int8 range, by more than 8 steps; without a float
            file, share of the values that pile up at an end of it, and None where an activation puts them there.
    """

    operator: int
    kind: str
    tensor: str
    module: str
    snr_db: float | None
    saturated_share: float | None


@dataclass(frozen=True)
class HealthFigures:
    """The worst of every check; None where nothing in the file can have it or it was not measured.

    Attributes:
        softmax_keys: most keys of an int8 soft-max row.
        softmax_error: the largest distance of an int8 soft-max row's sum from 1.
        float_operators: operators that compute in float32, conversions included.
        lacking_operators: kinds of operator that the TFLM interpreter lacks.
        divisor_steps: the least distance of an int8 divisor from zero, in steps.
        saturated_share: the largest share of a tensor's values that its int8 range cuts off.
        dead_tensors: tensors that hold one value at every place of every image.
        worst_layer_snr_db: the least signal over int8 error of any layer, in decibels.
        output_snr_db: the same of the outputs, against the reference.
        top1_agreement: share of images on which int8 and reference choose the same class.
        parity_steps: how far TFLM's outputs are from LiteRT's, in int8 steps.
    """

    softmax_keys: int | None = None
    softmax_error: float | None = None
    float_operators: int = 0
    lacking_operators: int = 0
    divisor_steps: int | None = None
    saturated_share: float | None = None
    dead_tensors: int = 0
    worst_layer_snr_db: float | None = None
    output_snr_db: float | None = None
    top1_agreement: float | None = None
    parity_steps: int | None = None


@dataclass(frozen=True)
class HealthReport:
    """What :func:`sapool.export.check_health` found.

    Attributes:
        path: the file.
        images: how many images it was run on.
        traced_images: on how many of them every tensor was looked at.
        findings: errors first, then in execution order.
        figures: the worst of every check.
        layers: every operator that was traced.
        notes: what could not be checked, and why.
    """

    path: str
    images: int
    traced_images: int
    findings: tuple[Finding, ...]
    figures: HealthFigures
    layers: tuple[LayerHealth, ...]
    notes: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps({"healthy": self.healthy} | asdict(self), indent=2)

    def lines(self) -> tuple[str, ...]:
        """Return the report as lines of text: a verdict with the figures, findings, notes."""
        figures = [
            f"{field.name} {value:.3g}"
            for field in fields(self.figures)
            if (value := getattr(self.figures, field.name)) is not None
        ]
        verdict = "healthy" if self.healthy else f"{len(self.findings)} findings"
        head = f"{verdict}, on {self.images} images: {', '.join(figures)}"
        return (head, *(str(finding) for finding in self.findings), *(f"not checked: {note}" for note in self.notes))
