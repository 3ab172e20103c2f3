"""Comparing poolings under one measured budget, over several seeds."""

from sapool.report.comparison import Comparison, PoolingRow
from sapool.report.detectors import DetectorComparison, DetectorRow
from sapool.report.statistics import Estimate, PairedDifference, compare_paired, estimate
from sapool.report.tables import markdown
from sapool.workflows.compare.comparison import compare
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.compare.detectors import DetectCompareConfig, compare_detectors

__all__ = [
    "CompareConfig",
    "Comparison",
    "DetectCompareConfig",
    "DetectorComparison",
    "DetectorRow",
    "Estimate",
    "PairedDifference",
    "PoolingRow",
    "Variant",
    "compare",
    "compare_detectors",
    "compare_paired",
    "estimate",
    "markdown",
]
