"""The predicted 32-bit arena against another checker's measurement: mcufit runs TensorFlow Lite Micro built for wasm32.

    python -m venv mcufit-venv && mcufit-venv/bin/pip install mcufit   # needs node on the PATH; works offline
    python benchmarks/mcufit_agreement.py mcufit-venv/bin/mcufit

mcufit's build is TFLM's ``generic_model_benchmark``. It records every allocation and keeps room for 100 resource
variables, and so does our 32-bit figure; what a firmware without both needs stands beside it. Exports of every pass, of
none, and files that ``optimize`` has rewritten.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pools_on_tflm import Net
from torch import Tensor, nn

import sapool
from sapool.base.files import write_text_atomically
from sapool.export import export_int8, measure_arena, optimize_tflite, randomize_norms
from sapool.layers import create_pool
from sapool.memory.profile import profile_tflite
from sapool.memory.verdict import profile_for_target
from sapool.tflite import read_graph

DIFFERENCES = ("difference_percent", "firmware_difference_percent", "cortex_m4_difference_percent")
RESULTS = Path(__file__).parent / "results" / "mcufit_agreement.json"
BOARD = "teensy41"  # mcufit's arena is the same for every board
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """One file: a network of so many pixels a side, exported with ``passes`` and rewritten by ``optimize`` or not."""

    name: str
    pixels: int
    build: Callable[[], nn.Module]
    passes: str = "all"
    optimized: bool = False


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.short = nn.Identity() if stride == 1 else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.main(x) + self.short(x))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def residual_network() -> nn.Module:
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, Mean(), nn.Linear(64, CLASSES))


def keyword_network() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 5, 2, 2, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(64, 64, 3, 1, 1, groups=64, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        layers += [nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(24), nn.Flatten(), nn.Linear(64, CLASSES))


def planned(model: str, size: int, pool: str, strides: list[int], **kwargs: Any) -> nn.Module:
    net = sapool.load_model(model, CLASSES)
    return sapool.apply_plan(net, sapool.make_plan(net, size, pool, strides, **kwargs)).model


def stock(model: str, size: int, **kwargs: Any) -> Case:
    return Case(model.partition(":")[2], size, lambda: sapool.load_model(model, CLASSES), **kwargs)


def tiny(size: int, pool: str, strides: list[int], heads: int | None = None, **kwargs: Any) -> Case:
    of_pool = {} if heads is None else {"num_heads": heads}
    name = f"tiny, {pool}" + ("" if heads is None else f", num_heads {heads}")
    return Case(name, size, lambda: planned("sapool:tiny", size, pool, strides, **of_pool), **kwargs)


def small(size: int, pool: str, **of_pool: Any) -> Case:
    return Case(f"small network, {pool}", size, lambda: Net(create_pool(pool, 16, 4, **of_pool)))


def cases() -> list[Case]:
    """Networks as they are, with self-attentive and other pools, in tiles, in loops, literal, and rewritten."""
    mobilenet, attended = "timm:mobilenetv2_035", [4, 2, 2, 2, 1]
    return [
        small(32, "self_attentive"),
        small(64, "self_attentive", num_heads=2),
        small(64, "avg"),
        stock("sapool:tiny", 64),
        stock("sapool:tiny", 64, passes="none"),
        stock("sapool:tiny", 64, passes="none", optimized=True),
        tiny(64, "avg", [4, 2, 2, 1]),
        tiny(64, "lip", [4, 2, 2, 1]),
        tiny(48, "self_attentive", [4, 2, 2, 1], heads=1),
        tiny(64, "self_attentive", [4, 2, 2, 1]),
        tiny(64, "self_attentive", [4, 2, 2, 1], passes="none"),
        tiny(64, "self_attentive", [4, 2, 2, 1], passes="none", optimized=True),
        tiny(112, "self_attentive", [4, 2, 2, 1], heads=4),
        tiny(128, "self_attentive", [4, 4, 2, 1]),
        Case("mobilenetv2_035, self_attentive", 64, lambda: planned(mobilenet, 64, "self_attentive", attended)),
        stock(mobilenet, 96),
        stock(mobilenet, 96, passes="none", optimized=True),
        stock("timm:mobilenetv2_050", 128),
        stock("timm:mobilenetv3_small_050", 64),
        stock("torchvision:shufflenet_v2_x0_5", 64),
        Case("residual network", 32, residual_network),
        Case("residual network", 32, residual_network, passes="none"),
        Case("keyword network", 48, keyword_network),
    ]


def write(case: Case, path: Path) -> None:
    torch.manual_seed(0)
    net = randomize_norms(case.build()).eval()
    images = torch.rand(16, 3, case.pixels, case.pixels, generator=torch.Generator().manual_seed(1))
    export_int8(net, [images], path, passes=case.passes)
    if case.optimized:
        optimize_tflite(path, path)


def measured(mcufit: str, path: Path) -> tuple[int, int]:
    """mcufit's head and tail in bytes."""
    command = [mcufit, "check", str(path), "--board", BOARD, "--exact", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        estimate = json.loads(done.stdout)["estimate"]
    except (ValueError, KeyError) as error:
        raise SystemExit(f"{mcufit} says nothing about {path}: {done.stdout or done.stderr}") from error
    return estimate["peak_activation_bytes"], estimate["overhead_bytes"]


def percent(ours: int, theirs: int) -> float:
    return round(100 * (ours / theirs - 1), 2)


def compare(mcufit: str, path: Path) -> dict[str, object]:
    head, tail = measured(mcufit, path)
    graph = read_graph(path)
    ours, wheel, total = profile_tflite(path), measure_arena(path), head + tail
    on_m4 = profile_for_target(graph, "cortex-m4").total_bytes
    kinds = [operator.kind for operator in graph.operators]
    return {
        "flash_bytes": path.stat().st_size,
        "operators": len(kinds),
        "loops": kinds.count("WHILE"),
        "mcufit_head_bytes": head,
        "mcufit_tail_bytes": tail,
        "sapool_head_bytes": ours.head_bytes,
        "sapool_tail_bytes_32bit": ours.tail_bytes_32bit,
        "firmware_total_bytes_32bit": ours.firmware_bytes_32bit,
        "wheel_total_bytes_64bit": wheel.total_bytes,
        "cortex_m4_total_bytes": on_m4,
        "difference_percent": percent(ours.total_bytes_32bit, total),
        "firmware_difference_percent": percent(ours.firmware_bytes_32bit, total),
        "cortex_m4_difference_percent": percent(on_m4, total),
    }


def row_of(mcufit: str, case: Case, path: Path) -> dict[str, object]:
    write(case, path)
    case_of = {"network": case.name, "pixels": case.pixels, "passes": case.passes, "optimized": case.optimized}
    return case_of | compare(mcufit, path)


def main(mcufit: str) -> None:
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            rows.append(row_of(mcufit, case, Path(folder) / "model.tflite"))
            print(rows[-1], flush=True)
    worst = {key: max((abs(float(str(row[key]))) for row in rows), default=math.nan) for key in DIFFERENCES}
    told = subprocess.run(
        [str(Path(mcufit).with_name("pip")), "show", "mcufit"], capture_output=True, text=True, check=False
    ).stdout
    versions = {name: version(name) for name in ("torch", "timm", "tflite-micro")}
    versions["mcufit"] = next((line.split()[1] for line in told.splitlines() if line.startswith("Version")), "unknown")
    record = {"versions": versions, "worst": worst, "models": rows}
    write_text_atomically(RESULTS, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
