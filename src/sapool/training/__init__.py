"""Data and training (extra: ``train``)."""

from __future__ import annotations

from sapool.training.classification import DivergedError, evaluate, load_weights, save_weights, train
from sapool.training.config import TrainConfig
from sapool.training.data import DATA_SETS, DataSplits, gather, load_data
from sapool.training.scattered import Sample, ScatteredDigits

__all__ = [
    "DATA_SETS",
    "DataSplits",
    "DivergedError",
    "Sample",
    "ScatteredDigits",
    "TrainConfig",
    "evaluate",
    "gather",
    "load_data",
    "load_weights",
    "save_weights",
    "train",
]
