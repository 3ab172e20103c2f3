"""The whole way: a network, data and a RAM budget in; an int8 model proven to fit out."""

from sapool.fitting.config import FitConfig, format_kib
from sapool.fitting.summary import FitSummary, claim_folder, fit
from sapool.fitting.ways import Way
from sapool.running import FolderConflictError

__all__ = ["FitConfig", "FitSummary", "FolderConflictError", "Way", "claim_folder", "fit", "format_kib"]
