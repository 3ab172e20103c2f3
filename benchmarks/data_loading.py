"""Images a second: what the loader delivers, against what a training step takes.

    python benchmarks/data_loading.py                  # this machine's CPU, one thread for the step
    python benchmarks/data_loading.py --device cuda --workers 0 8 16

Data: JPEGs of 256 px in class folders, at 224 px with random_resized_crop and flip; CIFAR-10's binary version at 32 px,
plain and with crop_pad4 and flip; canvases of scattered-digits at 64 px. All are made by this script. Steps: forward,
backward and SGD of timm's mobilenetv2_035 at 96 px and of sapool:tiny at 64 px, float32. The loader is the trainer's
own. Medians of the rounds; the first batch, which starts the workers, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sapool.networks.load import load_model
from sapool.training import Hardware, load_data, train_loader
from sapool.training.data import DataSplits

RESULTS = Path(__file__).parent / "results"
STEPS = {"timm:mobilenetv2_035": 96, "sapool:tiny": 64}
BATCH = 64


def write_jpegs(folder: Path, count: int) -> None:
    """Write photographs' like: smooth colours with some noise, 256 px, quality 90."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((256, 256), 3)
        noisy = np.asarray(coarse).astype(np.int16) + rng.integers(-12, 13, (256, 256, 3))
        path = folder / f"class{i % 4}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def write_cifar(folder: Path, a_file: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (a_file, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(a_file) % 10
        records.tofile(folder / name)


def data_sets(folder: Path) -> dict[str, tuple[DataSplits, int]]:
    """Return each data set and how many batches one round reads."""
    write_jpegs(folder / "jpegs", 1200)
    write_cifar(folder / "cifar", 4000)
    crop = ("random_resized_crop", "flip")
    return {
        "JPEG folder, 256 -> 224 px, random_resized_crop, flip": (
            load_data(f"folder:{folder / 'jpegs'}", 224, epochs=99, augment=crop),
            6,
        ),
        "CIFAR-10, 32 px": (load_data(f"cifar10:{folder / 'cifar'}", 32, epochs=99), 150),
        "CIFAR-10, 32 px, crop_pad4, flip": (
            load_data(f"cifar10:{folder / 'cifar'}", 32, epochs=99, augment=("crop_pad4", "flip")),
            50,
        ),
        "scattered-digits, 64 px": (load_data("scattered-digits", 64, epochs=99), 30),
    }


def loader_rate(data: DataSplits, workers: int, batches: int, rounds: int) -> float:
    """Return the median of images a second over ``rounds`` of ``batches`` batches."""
    loader = train_loader(data, BATCH, 0, Hardware(workers=workers))
    rates = []
    endless = (batch for _ in cycle([0]) for batch in loader)
    next(endless)
    for _ in range(rounds):
        start = time.perf_counter()
        seen = sum(len(labels) for _, labels in islice(endless, batches))
        rates.append(seen / (time.perf_counter() - start))
    return round(statistics.median(rates), 1)


def step_rate(name: str, size: int, device: str, rounds: int) -> float:
    """Return the median of images a second over ``rounds`` training steps."""
    model = load_model(name, num_classes=10).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.rand(BATCH, 3, size, size, device=device), torch.arange(BATCH, device=device) % 10
    rates = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        rates.append(BATCH / (time.perf_counter() - start))
    return round(statistics.median(rates[2:]), 1)


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = {f"{n} at {s} px": step_rate(n, s, args.device, 3 * args.rounds) for n, s in STEPS.items()}
    print(steps, flush=True)
    rates: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (data, batches) in data_sets(Path(folder)).items():
            rates[name] = {f"{w} workers": loader_rate(data, w, batches, args.rounds) for w in args.workers}
            print(name, rates[name], flush=True)
    record = {
        "device": device_name(args.device),
        "cpu": device_name("cpu"),
        "cores": os.cpu_count(),
        "load_average_at_the_end": round(os.getloadavg()[0], 1),
        "batch": BATCH,
        "rounds": args.rounds,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "training step, images/s": steps,
        "loader, images/s": rates,
    }
    RESULTS.mkdir(exist_ok=True)
    name = "data_loading" if args.device == "cpu" else "data_loading_cuda"
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
