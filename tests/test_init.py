from __future__ import annotations

import subprocess
import sys

import pytest

import sapool

PUBLIC = {
    "ArenaRecord", "DownsamplingSite", "ExportError", "ExportRecord", "FitConfig", "FitSummary", "POOLS", "Parity",
    "PoolingPlan", "Replacement", "RunRecord",
    "SapoolError", "ScatteredDigits", "SelfAttentivePool2d", "SitePlan", "TfliteError",
    "InterpreterError", "TrainConfig", "TrainRecord", "UnsupportedSite", "__version__", "apply_plan", "check_parity",
    "create_pool", "export_int8", "find_downsampling", "fit", "list_pools", "load_data", "load_model", "make_plan",
    "measure_arena",
    "model_header", "randomize_norms", "train", "CollapseWarning", "SelfAttentivePool1d", "distance_from_average",
    "from_authors", "ExecutorchRecord", "FallbackWarning", "HealthReport", "MemoryProfile", "OnnxRecord",
    "OptimizeRecord", "PlanCandidate", "PlanSearch", "check_health", "export_executorch", "export_onnx",
    "optimize_tflite", "profile_memory", "search_plans", "CompareConfig", "Comparison", "compare", "DetectionRecord",
    "evaluate_results", "load_boxes", "make_detector", "plan_backbone", "PruneRecord", "Pruned", "load_pruned",
    "prune_channels", "save_pruned", "Tuned", "TuneRecord", "prune_and_tune", "DataSplits", "Hardware", "read_recipe",
    "ArenaSize", "Budget", "Needs", "FolderConflictError", "OpenedRun", "open_run", "prune_run", "train_run",
    "BuildError", "CProfile", "CProgram", "EmulationRecord", "build_c", "emulate",
    "profile_c", "read_program",
}  # fmt: skip


def test_the_public_surface_is_this() -> None:
    assert set(sapool.__all__) == PUBLIC
    assert all(getattr(sapool, name) is not None for name in PUBLIC)
    assert set(dir(sapool)) >= PUBLIC


def test_unknown_attributes_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pool'"):
        sapool.pool  # noqa: B018


WITHOUT_EXTRAS = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f'no {{name}}', name=name)
sys.meta_path.insert(0, Refuse())
import torch, sapool
pool = sapool.SelfAttentivePool2d(4, 2)
assert pool(torch.rand(2, 4, 8, 8)).shape == (2, 4, 4, 4)
net = sapool.load_model('sapool:tiny', 10)
sapool.apply_plan(net, sapool.make_plan(net, 64))
for code in ("sapool.load_model('timm:resnet18')", "sapool.measure_arena({file!r})"):
    try:
        eval(code)
    except ImportError as error:
        print(error)
"""


def test_layers_and_surgery_need_torch_alone_and_errors_name_the_extra(tmp_path: object) -> None:
    blocked = ["timm", "torchvision", "pytorch_lightning", "sklearn", "safetensors", "ai_edge_litert", "flatbuffers",
               "litert_torch", "ai_edge_quantizer", "tflite_micro", "typer", "rich", "matplotlib"]  # fmt: skip
    code = WITHOUT_EXTRAS.format(blocked=blocked, file=sys.executable)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a timm model needs the package 'timm': pip install 'sapool[train]'" in done.stdout
    assert "sapool.measure_arena needs the package 'flatbuffers': pip install 'sapool[deploy]'" in done.stdout
