"""sapool: make convolutional networks fit small memories with self-attentive pooling, and prove it.

The layers need torch alone. Every other name is imported when it is first asked for, and says which extra it needs if
that is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sapool.base.extras import explain_missing

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sapool.base.arena import ArenaSize as ArenaSize
    from sapool.base.budget import Budget as Budget
    from sapool.base.budget import Needs as Needs
    from sapool.base.errors import SapoolError as SapoolError
    from sapool.base.records import ArenaRecord as ArenaRecord
    from sapool.base.records import DownsamplingSite as DownsamplingSite
    from sapool.base.records import ExportRecord as ExportRecord
    from sapool.base.records import PoolingPlan as PoolingPlan
    from sapool.base.records import RunRecord as RunRecord
    from sapool.base.records import SitePlan as SitePlan
    from sapool.base.records import TrainRecord as TrainRecord
    from sapool.base.records import UnsupportedSite as UnsupportedSite
    from sapool.detection import DetectionRecord as DetectionRecord
    from sapool.detection import evaluate_results as evaluate_results
    from sapool.detection import load_boxes as load_boxes
    from sapool.detection import make_detector as make_detector
    from sapool.detection import plan_backbone as plan_backbone
    from sapool.export import ExecutorchRecord as ExecutorchRecord
    from sapool.export import ExportError as ExportError
    from sapool.export import HealthReport as HealthReport
    from sapool.export import InterpreterError as InterpreterError
    from sapool.export import OnnxRecord as OnnxRecord
    from sapool.export import OptimizeRecord as OptimizeRecord
    from sapool.export import Parity as Parity
    from sapool.export import build_c as build_c
    from sapool.export import check_health as check_health
    from sapool.export import check_parity as check_parity
    from sapool.export import export_executorch as export_executorch
    from sapool.export import export_int8 as export_int8
    from sapool.export import export_onnx as export_onnx
    from sapool.export import measure_arena as measure_arena
    from sapool.export import model_header as model_header
    from sapool.export import optimize_tflite as optimize_tflite
    from sapool.export import randomize_norms as randomize_norms
    from sapool.firmware.emulate import EmulationRecord as EmulationRecord
    from sapool.firmware.program import BuildError as BuildError
    from sapool.firmware.program import CProfile as CProfile
    from sapool.firmware.program import CProgram as CProgram
    from sapool.firmware.program import emulate as emulate
    from sapool.firmware.program import read_program as read_program
    from sapool.layers import POOLS as POOLS
    from sapool.layers import CollapseWarning as CollapseWarning
    from sapool.layers import SelfAttentivePool1d as SelfAttentivePool1d
    from sapool.layers import SelfAttentivePool2d as SelfAttentivePool2d
    from sapool.layers import create_pool as create_pool
    from sapool.layers import distance_from_average as distance_from_average
    from sapool.layers import list_pools as list_pools
    from sapool.memory import MemoryProfile as MemoryProfile
    from sapool.networks.authors import from_authors as from_authors
    from sapool.networks.load import load_model as load_model
    from sapool.networks.traced import FallbackWarning as FallbackWarning
    from sapool.planning.plan import make_plan as make_plan
    from sapool.planning.sites import find_downsampling as find_downsampling
    from sapool.planning.surgery import Replacement as Replacement
    from sapool.planning.surgery import apply_plan as apply_plan
    from sapool.predict.c_engine import profile_c as profile_c
    from sapool.predict.profile import profile_memory as profile_memory
    from sapool.predict.search import PlanCandidate as PlanCandidate
    from sapool.predict.search import PlanSearch as PlanSearch
    from sapool.predict.search import search_plans as search_plans
    from sapool.pruning import Pruned as Pruned
    from sapool.pruning import PruneRecord as PruneRecord
    from sapool.pruning import load_pruned as load_pruned
    from sapool.pruning import prune_channels as prune_channels
    from sapool.pruning import save_pruned as save_pruned
    from sapool.pruning.tuning import Tuned as Tuned
    from sapool.pruning.tuning import TuneRecord as TuneRecord
    from sapool.pruning.tuning import prune_and_tune as prune_and_tune
    from sapool.tflite.file import TfliteError as TfliteError
    from sapool.training import DataSplits as DataSplits
    from sapool.training import Hardware as Hardware
    from sapool.training import ScatteredDigits as ScatteredDigits
    from sapool.training import TrainConfig as TrainConfig
    from sapool.training import load_data as load_data
    from sapool.training import read_recipe as read_recipe
    from sapool.training import train as train
    from sapool.workflows.compare import CompareConfig as CompareConfig
    from sapool.workflows.compare import Comparison as Comparison
    from sapool.workflows.compare import compare as compare
    from sapool.workflows.fit import FitConfig as FitConfig
    from sapool.workflows.fit import FitSummary as FitSummary
    from sapool.workflows.fit import fit as fit
    from sapool.workflows.folder import FolderConflictError as FolderConflictError
    from sapool.workflows.opened import OpenedRun as OpenedRun
    from sapool.workflows.opened import open_run as open_run
    from sapool.workflows.prune import prune_run as prune_run
    from sapool.workflows.train import train_run as train_run

_HOMES = {
    "sapool.base.arena": ("ArenaSize",),
    "sapool.base.budget": ("Budget", "Needs"),
    "sapool.base.errors": ("SapoolError",),
    "sapool.networks.authors": ("from_authors",),
    "sapool.workflows.compare": ("CompareConfig", "Comparison", "compare"),
    "sapool.detection": ("DetectionRecord", "evaluate_results", "load_boxes", "make_detector", "plan_backbone"),
    "sapool.planning.sites": ("find_downsampling",),
    "sapool.export": (
        "ExecutorchRecord",
        "ExportError",
        "HealthReport",
        "InterpreterError",
        "OnnxRecord",
        "OptimizeRecord",
        "Parity",
        "build_c",
        "check_health",
        "check_parity",
        "export_executorch",
        "export_int8",
        "export_onnx",
        "measure_arena",
        "model_header",
        "optimize_tflite",
        "randomize_norms",
    ),
    "sapool.firmware.program": ("BuildError", "CProfile", "CProgram", "emulate", "read_program"),
    "sapool.firmware.emulate": ("EmulationRecord",),
    "sapool.workflows.fit": ("FitConfig", "FitSummary", "fit"),
    "sapool.workflows.folder": ("FolderConflictError",),
    "sapool.workflows.opened": ("OpenedRun", "open_run"),
    "sapool.workflows.prune": ("prune_run",),
    "sapool.workflows.train": ("train_run",),
    "sapool.networks.traced": ("FallbackWarning",),
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
    "sapool.networks.load": ("load_model",),
    "sapool.planning.plan": ("make_plan",),
    "sapool.predict.c_engine": ("profile_c",),
    "sapool.predict.profile": ("profile_memory",),
    "sapool.pruning": ("PruneRecord", "Pruned", "load_pruned", "prune_channels", "save_pruned"),
    "sapool.pruning.tuning": ("Tuned", "TuneRecord", "prune_and_tune"),
    "sapool.base.records": (
        "ArenaRecord",
        "DownsamplingSite",
        "ExportRecord",
        "PoolingPlan",
        "RunRecord",
        "SitePlan",
        "TrainRecord",
        "UnsupportedSite",
    ),
    "sapool.predict.search": ("PlanCandidate", "PlanSearch", "search_plans"),
    "sapool.planning.surgery": ("Replacement", "apply_plan"),
    "sapool.tflite.file": ("TfliteError",),
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
    "sapool.firmware.program": "deploy,firmware",
    "sapool.firmware.emulate": "firmware",
    "sapool.tflite.file": "deploy",
    "sapool.training": "train",
    "sapool.workflows.compare": "train,deploy,search",
    "sapool.detection": "detect",
    "sapool.workflows.fit": "train,deploy",
    "sapool.workflows.prune": "train,prune",
    "sapool.workflows.train": "train",
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
