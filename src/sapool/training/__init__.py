"""Data and training (extra: ``train``)."""

from __future__ import annotations

from sapool.training.checkpoints import CheckpointError
from sapool.training.classification import evaluate, train
from sapool.training.config import Hardware, TrainConfig, processes
from sapool.training.data import DATA_SETS, DataSplits, load_data
from sapool.training.data.scattered import Sample, ScatteredDigits
from sapool.training.divergence import DivergedError
from sapool.training.loading import EpochSampler, eval_loader, gather, train_loader
from sapool.training.recipe import RECIPES, read_recipe
from sapool.training.weights import load_weights, save_weights

__all__ = [
    "DATA_SETS",
    "RECIPES",
    "CheckpointError",
    "DataSplits",
    "DivergedError",
    "EpochSampler",
    "Hardware",
    "Sample",
    "ScatteredDigits",
    "TrainConfig",
    "eval_loader",
    "evaluate",
    "gather",
    "load_data",
    "load_weights",
    "processes",
    "read_recipe",
    "save_weights",
    "train",
    "train_loader",
]
