"""Data sets by name or folder, each in three splits that share no image."""

from __future__ import annotations

from sapool.training.data.augmentation import AUGMENTATIONS
from sapool.training.data.checking import Survey, survey
from sapool.training.data.items import Batch, Images, PreparedImages, collate
from sapool.training.data.load import DataSplits, load_data, prepared_splits
from sapool.training.data.scattered import Sample, ScatteredDigits, ScatteredImages
from sapool.training.data.source_images import DataError
from sapool.training.data.sources import DATA_SETS, FORMATS, read_source

__all__ = [
    "AUGMENTATIONS",
    "Batch",
    "DATA_SETS",
    "DataError",
    "DataSplits",
    "FORMATS",
    "Images",
    "PreparedImages",
    "Sample",
    "ScatteredDigits",
    "ScatteredImages",
    "Survey",
    "collate",
    "load_data",
    "prepared_splits",
    "read_source",
    "survey",
]
