"""RAM, flash and instructions of TFLM and of the C engine over twelve networks.

    python benchmarks/c_engine.py

TFLM: the arena of the best export, tiles and all, on the 64-bit wheel. C engine: state and stack on an emulated
Cortex-M4, everything counted, the image's rows included; instructions exact. Outputs are compared bit by bit with
TFLM's. Untrained networks with random statistics.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sapool import (
    SelfAttentivePool2d,
    apply_plan,
    build_c,
    emulate,
    export_int8,
    load_model,
    make_plan,
    measure_arena,
    randomize_norms,
)
from sapool.export import InterpreterError, run_interpreter

RESULTS = Path(__file__).parent / "results" / "c_engine.json"
IMAGES = 2


@dataclass(frozen=True)
class Row:
    """One network on both engines; bytes."""

    network: str
    size: int
    tflm_arena_bytes: int | None
    tflm_file_bytes: int
    state_bytes: int
    stack_bytes: int
    flash_bytes: int
    tflm_macs: int
    macs: int
    instructions: int
    worst_push_instructions: int
    same_bits: bool
    build_seconds: float


def planned(pool: str, strides: tuple[int, ...]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = load_model("sapool:tiny", 10)
        return apply_plan(net, make_plan(net, 64, pool, strides)).model

    return make


def reference() -> nn.Module:
    pool = SelfAttentivePool2d(32, 4, patch_size=4, window_norm=False, num_heads=2)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), pool, nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def named(name: str, classes: int = 1000) -> Callable[[], nn.Module]:
    return lambda: load_model(name, classes)


NETWORKS: list[tuple[str, int, Callable[[], nn.Module]]] = [
    ("sapool:tiny, self-attentive 4,2,2,1", 64, planned("self_attentive", (4, 2, 2, 1))),
    ("sapool:tiny, self-attentive 2,2,2,2", 64, planned("self_attentive", (2, 2, 2, 2))),
    ("sapool:tiny, average 4,2,2,1", 64, planned("avg", (4, 2, 2, 1))),
    ("sapool:tiny, average 2,2,2,2", 64, planned("avg", (2, 2, 2, 2))),
    ("sapool:tiny, soft 4,2,2,1", 64, planned("soft", (4, 2, 2, 1))),
    ("sapool:tiny, strided", 64, named("sapool:tiny", 10)),
    ("reference network, self-attentive", 128, reference),
    ("timm:mobilenetv2_035", 128, named("timm:mobilenetv2_035")),
    ("timm:mobilenetv2_100", 224, named("timm:mobilenetv2_100")),
    ("timm:resnet18", 64, named("timm:resnet18", 10)),
    ("timm:efficientnet_lite0", 128, named("timm:efficientnet_lite0", 10)),
    ("torchvision:squeezenet1_1", 128, named("torchvision:squeezenet1_1", 10)),
]


def measure(name: str, size: int, make: Callable[[], nn.Module], folder: Path) -> Row:
    torch.manual_seed(0)
    network = randomize_norms(make()).eval()
    images = torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(1))
    best, flat = folder / "best.tflite", folder / "flat.tflite"
    export = export_int8(network, [images], best, flat_path=flat)
    try:
        arena = measure_arena(best).total_bytes
    except InterpreterError:
        arena = None
    started = time.perf_counter()
    program = build_c(flat, folder / "c")
    seconds = time.perf_counter() - started
    given = np.random.default_rng(0).integers(-128, 128, (IMAGES, size, size, 3)).astype(np.int8)
    record = emulate(program, given)
    wanted = run_interpreter("tflm", flat, given).reshape(IMAGES, -1)
    return Row(
        network=name,
        size=size,
        tflm_arena_bytes=arena,
        tflm_file_bytes=export.flash_bytes,
        state_bytes=program.ram_bytes,
        stack_bytes=record.stack_bytes,
        flash_bytes=record.flash_bytes,
        tflm_macs=export.macs,
        macs=program.macs,
        instructions=record.instructions,
        worst_push_instructions=record.worst_push_instructions,
        same_bits=bool((record.outputs == wanted).all()),
        build_seconds=round(seconds, 2),
    )


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for name, size, make in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows.append(measure(name, size, make, Path(folder)))
            except Exception as error:  # one network's failure is a line of the table
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
                continue
        print(rows[-1], flush=True)
        RESULTS.write_text(json.dumps({"images": IMAGES, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
