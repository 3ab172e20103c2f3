"""Comparing poolings under one measured budget, over several seeds."""

from sapool.comparing.comparison import compare
from sapool.comparing.config import CompareConfig, Variant
from sapool.comparing.detector_result import DetectorComparison, DetectorRow
from sapool.comparing.detectors import DetectCompareConfig, compare_detectors
from sapool.comparing.result import Comparison, PoolingRow
from sapool.comparing.statistics import Estimate, PairedDifference, compare_paired, estimate
from sapool.comparing.tables import markdown

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
