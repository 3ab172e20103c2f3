"""Records in, pages and figures out; needs no torch."""

from sapool.report.comparison import Comparison, PoolingRow
from sapool.report.detectors import DetectorComparison, DetectorRow
from sapool.report.statistics import Estimate, PairedDifference, compare_paired, estimate

__all__ = [
    "Comparison",
    "DetectorComparison",
    "DetectorRow",
    "Estimate",
    "PairedDifference",
    "PoolingRow",
    "compare_paired",
    "estimate",
]
