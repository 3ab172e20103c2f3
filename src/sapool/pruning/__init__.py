"""Channel pruning: :func:`prune_channels` makes layers narrower, pools and all, and saves what it made."""

from sapool.pruning.importance import IMPORTANCES
from sapool.pruning.prune import prune_channels
from sapool.pruning.records import Cost, LayerChange, Pruned, PruneRecord
from sapool.pruning.saving import load_pruned, save_pruned

__all__ = [
    "IMPORTANCES",
    "Cost",
    "LayerChange",
    "PruneRecord",
    "Pruned",
    "load_pruned",
    "prune_channels",
    "save_pruned",
]
