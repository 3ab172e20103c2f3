"""The whole way: a network, data and a RAM budget in; an int8 model proven to fit out."""

from sapool.base.sizes import format_kib
from sapool.workflows.fit.config import FitConfig
from sapool.workflows.fit.summary import FitSummary, fit
from sapool.workflows.fit.ways import Way
from sapool.workflows.folder import FolderConflictError

__all__ = ["FitConfig", "FitSummary", "FolderConflictError", "Way", "fit", "format_kib"]
