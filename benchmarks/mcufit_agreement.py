"""The predicted 32-bit arena against another checker's measurement: mcufit runs TensorFlow Lite Micro built for wasm32.

    python -m venv mcufit-venv && mcufit-venv/bin/pip install mcufit   # needs node on the PATH; works offline
    python benchmarks/mcufit_agreement.py mcufit-venv/bin/mcufit

mcufit's build is TFLM's ``generic_model_benchmark``, which sets room for 100 resource variables aside, which
a firmware for these models would not. Both differences are in the table: to its figure as printed, and less that room.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

import sapool
from sapool.export import export_int8, measure_arena, randomize_norms
from sapool.memory.profile import profile_tflite
from sapool.memory.read_tflite import read_arena_graph
from sapool.memory.verdict import profile_for_target

DIFFERENCES = ("difference_percent", "difference_without_benchmark_room_percent", "cortex_m4_difference_percent")
RESULTS = Path(__file__).parent / "results" / "mcufit_agreement.json"
BOARD = "teensy41"  # mcufit's arena is the same for every board
CLASSES = 10
# name, model, pixels, pool and total strides of a plan (none: as it is)
MODELS: list[tuple[str, str, int, str | None, list[int]]] = [
    ("tiny", "sapool:tiny", 64, None, []),
    ("tiny, average pools", "sapool:tiny", 64, "avg", [4, 2, 2, 1]),
    ("tiny, self-attentive pools", "sapool:tiny", 64, "self_attentive", [4, 2, 2, 1]),
    ("tiny, LIP", "sapool:tiny", 64, "lip", [4, 2, 2, 1]),
    ("tiny, 128 px, self-attentive pools", "sapool:tiny", 128, "self_attentive", [4, 4, 2, 1]),
    ("mobilenetv2_035", "timm:mobilenetv2_035", 96, None, []),
    ("mobilenetv2_035, self-attentive pools", "timm:mobilenetv2_035", 64, "self_attentive", [4, 2, 2, 2, 1]),
    ("mobilenetv3_small_050", "timm:mobilenetv3_small_050", 64, None, []),
    ("shufflenet_v2_x0_5", "torchvision:shufflenet_v2_x0_5", 64, None, []),
    ("residual network", "", 32, None, []),
    ("keyword network", "", 48, None, []),
]

# TFLM's micro_resource_variable.h: two names, a buffer and a size, 4 bytes each on 32 bits, and a default value in one
# byte, which alignment makes 4; generic_model_benchmark.cc keeps 100 of them and their list (a pointer and two counts).
_RESOURCES, _RESOURCE_BYTES, _LIST_BYTES, _ALIGNMENT = 100, 5 * 4, 3 * 4, 16


def aligned(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


BENCHMARK_ROOM = aligned(_RESOURCES * _RESOURCE_BYTES) + aligned(_LIST_BYTES)


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


def build(name: str, model: str, size: int, pool: str | None, strides: list[int]) -> nn.Module:
    torch.manual_seed(0)
    if not model:
        return residual_network() if name == "residual network" else keyword_network()
    net = sapool.load_model(model, CLASSES)
    return net if pool is None else sapool.apply_plan(net, sapool.make_plan(net, size, pool, strides)).model


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
    ours, wheel = profile_tflite(path), measure_arena(path)
    total, total_less = head + tail, head + tail - BENCHMARK_ROOM
    on_m4 = profile_for_target(read_arena_graph(path), "cortex-m4").total_bytes
    return {
        "flash_bytes": path.stat().st_size,
        "mcufit_head_bytes": head,
        "mcufit_tail_bytes": tail,
        "sapool_head_bytes": ours.head_bytes,
        "sapool_tail_bytes_32bit": ours.tail_bytes_32bit,
        "wheel_total_bytes_64bit": wheel.total_bytes,
        "cortex_m4_total_bytes": on_m4,
        "difference_percent": percent(ours.total_bytes_32bit, total),
        "difference_without_benchmark_room_percent": percent(ours.total_bytes_32bit, total_less),
        "cortex_m4_difference_percent": percent(on_m4, total),
    }


def main(mcufit: str) -> None:
    warnings.simplefilter("ignore")
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model, size, pool, strides in MODELS:
            path = Path(folder) / "model.tflite"
            net = randomize_norms(build(name, model, size, pool, strides)).eval()
            images = torch.rand(16, 3, size, size, generator=torch.Generator().manual_seed(1))
            export_int8(net, [images], path)
            rows[name] = {"pixels": size} | compare(mcufit, path)
            print(name, rows[name], flush=True)
    worst = {key: max((abs(float(str(row[key]))) for row in rows.values()), default=math.nan) for key in DIFFERENCES}
    told = subprocess.run(
        [str(Path(mcufit).with_name("pip")), "show", "mcufit"], capture_output=True, text=True, check=False
    ).stdout
    versions = {name: version(name) for name in ("torch", "timm", "tflite-micro")}
    versions["mcufit"] = next((line.split()[1] for line in told.splitlines() if line.startswith("Version")), "unknown")
    record = {"versions": versions, "benchmark_room_bytes": BENCHMARK_ROOM, "worst": worst, "models": rows}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
