"""sapool: make convolutional networks fit small memories with self-attentive pooling, and prove it.

The layers need torch alone. Every other name is imported when it is first asked for, and says which extra it needs if
that is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sapool.optional import explain_missing

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sapool.authors import from_authors as from_authors
    from sapool.comparing import CompareConfig as CompareConfig
    from sapool.comparing import Comparison as Comparison
    from sapool.comparing import compare as compare
    from sapool.detection import DetectionRecord as DetectionRecord
    from sapool.detection import evaluate_results as evaluate_results
    from sapool.detection import load_boxes as load_boxes
    from sapool.detection import make_detector as make_detector
    from sapool.detection import plan_backbone as plan_backbone
    from sapool.downsampling import find_downsampling as find_downsampling
    from sapool.export import ExecutorchRecord as ExecutorchRecord
    from sapool.export import ExportError as ExportError
    from sapool.export import HealthReport as HealthReport
    from sapool.export import InterpreterError as InterpreterError
    from sapool.export import OnnxRecord as OnnxRecord
    from sapool.export import OptimizeRecord as OptimizeRecord
    from sapool.export import Parity as Parity
    from sapool.export import check_health as check_health
    from sapool.export import check_parity as check_parity
    from sapool.export import export_executorch as export_executorch
    from sapool.export import export_int8 as export_int8
    from sapool.export import export_onnx as export_onnx
    from sapool.export import measure_arena as measure_arena
    from sapool.export import optimize_tflite as optimize_tflite
    from sapool.export import randomize_norms as randomize_norms
    from sapool.fitting import FitConfig as FitConfig
    from sapool.fitting import FitSummary as FitSummary
    from sapool.fitting import fit as fit
    from sapool.graph import FallbackWarning as FallbackWarning
    from sapool.layers import POOLS as POOLS
    from sapool.layers import CollapseWarning as CollapseWarning
    from sapool.layers import SelfAttentivePool1d as SelfAttentivePool1d
    from sapool.layers import SelfAttentivePool2d as SelfAttentivePool2d
    from sapool.layers import create_pool as create_pool
    from sapool.layers import distance_from_average as distance_from_average
    from sapool.layers import list_pools as list_pools
    from sapool.memory import MemoryProfile as MemoryProfile
    from sapool.models import load_model as load_model
    from sapool.plan import make_plan as make_plan
    from sapool.profiling import profile_memory as profile_memory
    from sapool.pruning import Pruned as Pruned
    from sapool.pruning import PruneRecord as PruneRecord
    from sapool.pruning import load_pruned as load_pruned
    from sapool.pruning import prune_channels as prune_channels
    from sapool.pruning import save_pruned as save_pruned
    from sapool.pruning.tuning import Tuned as Tuned
    from sapool.pruning.tuning import TuneRecord as TuneRecord
    from sapool.pruning.tuning import prune_and_tune as prune_and_tune
    from sapool.records import ArenaRecord as ArenaRecord
    from sapool.records import DownsamplingSite as DownsamplingSite
    from sapool.records import ExportRecord as ExportRecord
    from sapool.records import PoolingPlan as PoolingPlan
    from sapool.records import RunRecord as RunRecord
    from sapool.records import SitePlan as SitePlan
    from sapool.records import TrainRecord as TrainRecord
    from sapool.records import UnsupportedSite as UnsupportedSite
    from sapool.search import PlanCandidate as PlanCandidate
    from sapool.search import PlanSearch as PlanSearch
    from sapool.search import search_plans as search_plans
    from sapool.surgery import Replacement as Replacement
    from sapool.surgery import apply_plan as apply_plan
    from sapool.tflite_file import TfliteError as TfliteError
    from sapool.training import DataSplits as DataSplits
    from sapool.training import Hardware as Hardware
    from sapool.training import ScatteredDigits as ScatteredDigits
    from sapool.training import TrainConfig as TrainConfig
    from sapool.training import load_data as load_data
    from sapool.training import read_recipe as read_recipe
    from sapool.training import train as train

_HOMES = {
    "sapool.authors": ("from_authors",),
    "sapool.comparing": ("CompareConfig", "Comparison", "compare"),
    "sapool.detection": ("DetectionRecord", "evaluate_results", "load_boxes", "make_detector", "plan_backbone"),
    "sapool.downsampling": ("find_downsampling",),
    "sapool.export": (
        "ExecutorchRecord",
        "ExportError",
        "HealthReport",
        "InterpreterError",
        "OnnxRecord",
        "OptimizeRecord",
        "Parity",
        "check_health",
        "check_parity",
        "export_executorch",
        "export_int8",
        "export_onnx",
        "measure_arena",
        "optimize_tflite",
        "randomize_norms",
    ),
    "sapool.fitting": ("FitConfig", "FitSummary", "fit"),
    "sapool.graph": ("FallbackWarning",),
    "sapool.layers": (
        "POOLS",
        "CollapseWarning",
        "SelfAttentivePool1d",
        "SelfAttentivePool2d",
        "create_pool",
        "distance_from_average",
        "list_pools",
    ),
    "sapool.memory": ("MemoryProfile",),
    "sapool.models": ("load_model",),
    "sapool.plan": ("make_plan",),
    "sapool.profiling": ("profile_memory",),
    "sapool.pruning": ("PruneRecord", "Pruned", "load_pruned", "prune_channels", "save_pruned"),
    "sapool.pruning.tuning": ("Tuned", "TuneRecord", "prune_and_tune"),
    "sapool.records": (
        "ArenaRecord",
        "DownsamplingSite",
        "ExportRecord",
        "PoolingPlan",
        "RunRecord",
        "SitePlan",
        "TrainRecord",
        "UnsupportedSite",
    ),
    "sapool.search": ("PlanCandidate", "PlanSearch", "search_plans"),
    "sapool.surgery": ("Replacement", "apply_plan"),
    "sapool.tflite_file": ("TfliteError",),
    "sapool.training": (
        "DataSplits",
        "Hardware",
        "ScatteredDigits",
        "TrainConfig",
        "load_data",
        "read_recipe",
        "train",
    ),
}
_EXTRA_OF = {
    "sapool.export": "deploy",
    "sapool.tflite_file": "deploy",
    "sapool.training": "train",
    "sapool.comparing": "train,deploy,search",
    "sapool.detection": "detect",
    "sapool.fitting": "train,deploy",
    "sapool.pruning": "prune",
    "sapool.pruning.tuning": "train,prune",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sapool' has no attribute {name!r}")
    home = _HOME_OF[name]
    try:
        module = importlib.import_module(home)
    except ImportError as error:
        raise explain_missing(error, f"sapool.{name}", _EXTRA_OF.get(home, "all")) from error
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
