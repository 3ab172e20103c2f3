"""Two ways to find the int8 range of an activation, on trained networks: ``python benchmarks/calibration.py``.

Extremes over all calibration images (what :func:`sapool.export_int8` does), or the quantiser's own habit, a moving
average of every image's extremes. ``sapool:tiny_025`` on scattered digits, 20 epochs, 128 images of calibration; the
range is looked at where it matters most, at the scores. Some five minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_quantizer.utils import qsv_utils
from torch import Tensor, nn

from sapool import apply_plan, export_int8, load_model, make_plan
from sapool.base.environment import describe_environment
from sapool.export import run_images
from sapool.training import DataSplits, TrainConfig, gather, load_data, train

RESULTS = Path(__file__).parent / "results"
STRIDES = ((2, 2, 2, 2), (4, 2, 2, 1))
POOLS = ("avg", "self_attentive")
EPOCHS, IMAGES, SIZE = 20, 750, 64


@contextmanager
def moving_average() -> Iterator[None]:
    held = qsv_utils.min_max_update
    qsv_utils.min_max_update = qsv_utils.moving_average_update
    try:
        yield
    finally:
        qsv_utils.min_max_update = held


def trained(pool: str, strides: tuple[int, ...], data: DataSplits, seed: int, folder: Path) -> nn.Module:
    torch.manual_seed(seed)
    network = load_model("sapool:tiny_025", data.num_classes)
    model = apply_plan(network, make_plan(network, SIZE, pool, list(strides))).model
    train(model, data, TrainConfig(epochs=EPOCHS, seed=seed), folder)
    return model.eval()


def quantised(model: nn.Module, data: DataSplits, images: Tensor, labels: Tensor, path: Path) -> dict[str, Any]:
    record = export_int8(model, data.calibration(), path)
    scores = run_images(path, images)
    return {
        "int8_test": float(np.mean(scores.argmax(1) == labels.numpy())),
        "snr_db": record.int8_snr_db,
        "scores_at_an_end": float(np.mean((scores == 127) | (scores == -128))),
    }


def measure(pool: str, strides: tuple[int, ...], seed: int, folder: Path) -> dict[str, Any]:
    data = load_data("scattered-digits", SIZE, epochs=EPOCHS, seed=seed, eval_images=IMAGES)
    model = trained(pool, strides, data, seed, folder / "run")
    images, labels = gather(data.test, IMAGES)
    with torch.no_grad():
        float_test = float((model(images).argmax(1) == labels).float().mean())
    found = {"extremes": quantised(model, data, images, labels, folder / "model.tflite")}
    with moving_average():
        found["moving average"] = quantised(model, data, images, labels, folder / "model.tflite")
    return {"pool": pool, "strides": strides, "seed": seed, "float_test": float_test, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    rows = []
    for seed in range(parser.parse_args().seeds):
        for strides in STRIDES:
            for pool in POOLS:
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(measure(pool, strides, seed, Path(folder)))
                print(json.dumps(rows[-1]), flush=True)
    held = {"environment": describe_environment(), "rows": rows}
    (RESULTS / "calibration.json").write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
