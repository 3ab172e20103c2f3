"""Every pooling in one small network on TensorFlow Lite Micro: arena, MACs, and what int8 costs.

    python benchmarks/pools_on_tflm.py

The network: 3x3 stride-2 convolution to 16 channels at 64 px, ReLU, the pooling by 4 on the 32 x 32 map (local
importance pooling also with its paper's window), 3x3 convolution to 32 channels, ReLU, mean, linear. Untrained:
BatchNorms get random statistics, zero-initialised logits random weights. Accuracy is not in this table.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapool.export import ExportError, check_parity, export_int8, measure_arena, randomize_norms
from sapool.layers import create_pool, list_pools

RESULTS = Path(__file__).parent / "results"
OTHERS: list[tuple[str, str, tuple[int, ...], dict[str, Any]]] = [
    ("lip, 3x3 window, stride 2", "lip", (3, 2, 1), {}),
    ("self_attentive, separable", "self_attentive", (4,), {"embedding": "separable"}),
    ("self_attentive, p = 2, normalised", "self_attentive", (4,), {"patch_size": 2, "window_norm": True}),
    ("self_attentive, p = 2, gain 12", "self_attentive", (4,), {"patch_size": 2, "window_norm": True, "gain": 12.0}),
    ("self_attentive, bilinear", "self_attentive", (4,), {"window_norm": True, "restoration": "bilinear"}),
    ("self_attentive, pixel_shuffle", "self_attentive", (4,), {"window_norm": True, "restoration": "pixel_shuffle"}),
]


class Net(nn.Module):
    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.pool = pool
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(self.pool(self.stem(x))).mean((2, 3)))


def measure(name: str, window: tuple[int, ...], kwargs: dict[str, Any], folder: Path) -> dict[str, object]:
    torch.manual_seed(0)
    net = randomize_norms(Net(create_pool(name, 16, *window, **kwargs))).eval()
    for key, parameter in net.named_parameters():
        if "logit" in key or "omega" in key:
            nn.init.normal_(parameter, std=0.3)
    images = torch.rand(32, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    path = folder / "model.tflite"
    try:
        record = export_int8(net, [images], path)
    except ExportError as refusal:
        return {"refused": str(refusal)}
    arena = measure_arena(path)
    return {
        "head_bytes": arena.head_bytes,
        "tail_bytes": arena.tail_bytes,
        "total_bytes": arena.total_bytes,
        "macs": record.macs,
        "flash_bytes": record.flash_bytes,
        "float_error": record.float_error,
        "int8_snr_db": None if record.int8_snr_db is None else round(record.int8_snr_db, 1),
        "tflm_litert_max_steps": check_parity(path, images[:16]).max_steps,
    }


def main() -> None:
    warnings.simplefilter("ignore")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, name, window, kwargs in [(n, n, (4,), {}) for n in list_pools()] + OTHERS:
            rows[label] = measure(name, window, kwargs, Path(folder))
            print(label, rows[label], flush=True)
    packages = ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "tflite-micro")
    record = {"versions": {p: version(p) for p in packages}, "pools": rows}
    (RESULTS / "pools_on_tflm.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
