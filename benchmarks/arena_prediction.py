"""Predicted against measured arena: does profile_memory say what TensorFlow Lite Micro takes?

From the .tflite the head must be right to the byte; from the PyTorch network, without exporting, within a few percent.

    python benchmarks/arena_prediction.py [FOLDER]

Untrained networks with random BatchNorm statistics, quantised on 8 random images. Models that the results file has
already are left out, so that the script can be stopped and started again; FOLDER keeps the .tflite files, and one that
lies there is not exported again. Head, tail and total are of the 64-bit wheel's recording allocator.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pools_on_tflm import OTHERS, Net
from torch import nn

import sapool
from sapool.export import export_int8, measure_arena, randomize_norms
from sapool.layers import create_pool, list_pools
from sapool.memory import profile_tflite
from sapool.predict.profile import profile_memory

RESULTS = Path(__file__).parent / "results" / "arena_prediction.json"
PACKAGES = ("torch", "timm", "torchvision", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "tflite-micro")
UNCHANGED = [
    ("timm:mobilenetv2_050", 96),
    ("timm:resnet18", 64),
    ("torchvision:squeezenet1_1", 64),
    ("timm:mobilenetv3_small_050", 64),
    ("torchvision:shufflenet_v2_x0_5", 64),
    ("timm:lcnet_050", 64),
    ("timm:mnasnet_small", 64),
    ("timm:ghostnet_050", 64),
    ("timm:regnetx_002", 64),
    ("timm:mobilenetv2_100", 224),
    ("timm:mobilenetv4_conv_small", 96),
    ("timm:efficientnet_lite0", 96),
    ("timm:tf_efficientnet_b0", 96),
    ("torchvision:vgg11", 64),
]
PLANNED = [
    ("timm:mobilenetv2_050", 96),
    ("timm:resnet18", 64),
    ("timm:mobilenetv3_small_050", 64),
    ("timm:mobilenetv2_035", 128),
    ("timm:lcnet_050", 64),
    ("timm:resnet10t", 96),
]
# label, passes, side of the square image, how the network is built
Model = tuple[str, str, int, Callable[[], nn.Module]]


def pooled(name: str, window: tuple[int, ...], kwargs: dict[str, Any]) -> nn.Module:
    net = Net(create_pool(name, 16, *window, **kwargs))
    for key, parameter in net.named_parameters():
        if "logit" in key or "omega" in key:
            nn.init.normal_(parameter, std=0.3)
    return net


def planned(name: str, size: int, pool: str, **kwargs: Any) -> nn.Module:
    net = sapool.load_model(name, 10)
    return sapool.apply_plan(net, sapool.make_plan(net, size, pool, **kwargs)).model


def models() -> Iterator[Model]:
    yield from small_networks()
    yield from tiny_networks()
    for name, size in PLANNED:
        for passes in ("all", "none"):
            yield f"{name}, self_attentive", passes, size, lambda n=name, s=size: planned(n, s, "self_attentive")
    for name, size in UNCHANGED:
        yield name, "all", size, lambda n=name: sapool.load_model(n, 10)
    for name, size in UNCHANGED[:5]:
        yield name, "none", size, lambda n=name: sapool.load_model(n, 10)


def small_networks() -> Iterator[Model]:
    for name in list_pools():
        yield f"{name} in a small network", "all", 64, lambda n=name: pooled(n, (4,), {})
    for label, name, window, kwargs in OTHERS:
        yield f"{label} in a small network", "all", 64, lambda n=name, w=window, k=kwargs: pooled(n, w, k)
    for label, name, window, kwargs in [("self_attentive", "self_attentive", (4,), {}), *OTHERS]:
        yield f"{label} in a small network", "none", 64, lambda n=name, w=window, k=kwargs: pooled(n, w, k)


def tiny_networks() -> Iterator[Model]:
    for size in (64, 96):
        yield "sapool:tiny", "all", size, lambda: sapool.load_model("sapool:tiny", 10)
        for pool in ("self_attentive", "avg", "max", "lip"):
            yield f"sapool:tiny, {pool}", "all", size, lambda s=size, p=pool: planned("sapool:tiny", s, p)
        yield "sapool:tiny, self_attentive", "none", size, lambda s=size: planned("sapool:tiny", s, "self_attentive")
    for size in (48, 80, 112):
        for heads in (1, 2, 4):
            name = f"sapool:tiny, self_attentive with {heads} heads, strides 4,2,2,1"
            yield (
                name,
                "all",
                size,
                lambda s=size, h=heads: planned("sapool:tiny", s, "self_attentive", strides=(4, 2, 2, 1), num_heads=h),
            )


def compare(model: Model, path: Path) -> dict[str, object]:
    _, passes, size, build = model
    torch.manual_seed(0)
    net = randomize_norms(build()).eval()
    started = time.process_time()
    early = profile_memory(net, size, passes=passes)
    seconds = time.process_time() - started
    if not path.exists():
        images = torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(1))
        export_int8(net, [images], path, passes=passes)
    measured, predicted = measure_arena(path), profile_tflite(path)
    return {
        "operators": len(predicted.by_operator),
        "head_bytes": {
            "measured": measured.head_bytes,
            "predicted": predicted.head_bytes,
            "from_pytorch": early.head_bytes,
        },
        "total_bytes": {
            "measured": measured.total_bytes,
            "predicted": predicted.total_bytes,
            "from_pytorch": early.total_bytes,
        },
        "cpu_seconds_from_pytorch": round(seconds, 2),
        "lower_bound_bytes": predicted.lower_bound_bytes,
        "total_bytes_32bit": predicted.total_bytes_32bit,
    }


def spread(rows: list[dict[str, Any]], kind: str) -> dict[str, float]:
    errors = sorted(abs(row[kind]["from_pytorch"] / row[kind]["measured"] - 1) for row in rows)
    return {
        "median_relative_error": statistics.median(errors),
        "largest_relative_error": errors[-1],
        "within_5_percent": sum(error <= 0.05 for error in errors),
    }


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, object]:
    done = [row for row in rows.values() if "refused" not in row]
    errors = [abs(r["total_bytes"]["predicted"] / r["total_bytes"]["measured"] - 1) for r in done]
    return {
        "models": len(done),
        "refused": len(rows) - len(done),
        "heads_equal": sum(r["head_bytes"]["measured"] == r["head_bytes"]["predicted"] for r in done),
        "totals_equal": sum(r["total_bytes"]["measured"] == r["total_bytes"]["predicted"] for r in done),
        "largest_relative_error_of_total": max(errors, default=None),
        "from_pytorch": {kind: spread(done, kind) for kind in ("head_bytes", "total_bytes")},
        "heads_at_lower_bound": sum(r["head_bytes"]["measured"] == r["lower_bound_bytes"] for r in done),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    rows = json.loads(RESULTS.read_text())["models"] if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for model in models():
            label = f"{model[0]}, {model[2]} px, passes {model[1]}"
            if label in rows:
                continue
            path = folder / (re.sub(r"[^0-9a-zA-Z.]+", "_", label) + ".tflite")
            try:
                rows[label] = compare(model, path)
            except (ValueError, RuntimeError) as refusal:
                rows[label] = {"refused": str(refusal).splitlines()[0].removeprefix(f"{path}: ")[:300]}
            record = {"versions": {p: version(p) for p in PACKAGES}, "summary": summary(rows), "models": rows}
            RESULTS.write_text(json.dumps(record, indent=1) + "\n")
            print(label, rows[label], flush=True)


if __name__ == "__main__":
    main()
