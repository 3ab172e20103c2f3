"""Images for the hand-made files, and what a report found in short."""

from __future__ import annotations

import torch
from torch import Tensor

from sapool.export.health import HealthReport


def small(low: float = -1.0, high: float = 1.0, count: int = 4) -> Tensor:
    """Images (N, 2, 4, 4) for the hand-made models."""
    return torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * (high - low) + low


def found(report: HealthReport) -> list[tuple[str, str, int | None]]:
    return [(finding.check, finding.severity, finding.operator) for finding in report.findings]


def small_rows(keys: int) -> Tensor:
    return torch.rand(2, keys, 4, 1, generator=torch.Generator().manual_seed(0)) * 0.1
