"""Comparing poolings under one measured budget, over several seeds."""

from sapool.workflows.compare.comparison import compare
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.compare.detector_result import DetectorComparison, DetectorRow
from sapool.workflows.compare.detectors import DetectCompareConfig, compare_detectors
from sapool.workflows.compare.result import Comparison, PoolingRow
from sapool.workflows.compare.statistics import Estimate, PairedDifference, compare_paired, estimate
from sapool.workflows.compare.tables import markdown

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
