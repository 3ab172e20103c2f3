"""Training throughput of one plan with every pooling, against the same plan with max pooling, side by side in one run.

A step is forward, cross-entropy, backward and SGD with momentum on random images. The poolings take turns step by step,
so that a machine that slows down slows all of them; a ratio is the median of the rounds' ratios of time, its spread the
middle half. Over 1 is faster than max pooling. On one thread of a CPU the same ratio is also taken of the
process's own time, which other programs on the machine disturb less.

    python benchmarks/training_throughput.py                  # this machine's CPU, one thread and two
    python benchmarks/training_throughput.py --device cuda

The floor, for reading the table: ``MACs`` of a training step an image (half of what torch's FlopCounterMode counts),
and ``pool_bytes``, what the pools can't avoid to read and write an image in a step: the map once forward, its gradient
once backward.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import sapool
from sapool.base.files import write_text_atomically
from sapool.layers import WindowPool2d

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.pooling_speed import RESULTS, device_name, ratio

NETWORKS = {"timm:mobilenetv2_035": (96, (4, 2, 2, 2, 1)), "sapool:tiny": (64, (4, 2, 2, 1))}
CLASSES = 10
MAIN = ("max", "self_attentive", "avg")


@dataclass
class Training:
    """A planned network and what one step of it needs."""

    model: nn.Module
    images: torch.Tensor
    classes: torch.Tensor

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)

    def step(self) -> None:
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.images), self.classes).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def prepare(network: str, pool: str, batch: int, device: str) -> Training:
    size, strides = NETWORKS[network]
    torch.manual_seed(0)
    model = sapool.load_model(network, CLASSES)
    planned = sapool.apply_plan(model, sapool.make_plan(model, size, pool, strides=strides)).model
    images = torch.randn(batch, 3, size, size, device=device)
    return Training(planned.to(device).train(), images, torch.randint(0, CLASSES, (batch,), device=device))


def seconds(run: Callable[[], object], device: str) -> tuple[float, float]:
    """Return the seconds that passed and those that this process computed, all its threads together."""
    if device == "cuda":
        torch.cuda.synchronize()
    start, computed = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - computed


def floor(training: Training) -> dict[str, int]:
    """Return MACs and unavoidable bytes of the pools, of one step an image."""
    moved: list[int] = []

    def count(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        moved.append(2 * args[0].numel() * args[0].element_size())

    batch = len(training.images)
    pools = [m for m in training.model.modules() if isinstance(m, WindowPool2d | nn.MaxPool2d | nn.AvgPool2d)]
    hooks = [pool.register_forward_pre_hook(count) for pool in pools]
    with FlopCounterMode(display=False) as counter:
        training.step()
    for hook in hooks:
        hook.remove()
    return {"macs": counter.get_total_flops() // 2 // batch, "pool_bytes": sum(moved) // batch}


def compare(network: str, pools: Sequence[str], batch: int, device: str, rounds: int) -> dict[str, dict[str, object]]:
    """Return {pool: milliseconds a step, images a second, throughput against max pooling, floor}."""
    trainings: dict[str, Training] = {}
    found: dict[str, dict[str, object]] = {}
    for pool in pools:
        try:
            trainings[pool] = prepare(network, pool, batch, device)
            trainings[pool].step()
        except (ValueError, ImportError) as error:
            trainings.pop(pool, None)
            found[pool] = {"refused": str(error).splitlines()[0]}
    for training in trainings.values():
        training.step()
    times: dict[str, list[float]] = {pool: [] for pool in trainings}
    computed: dict[str, list[float]] = {pool: [] for pool in trainings}
    for _ in range(rounds):
        for pool, training in trainings.items():
            passed, own = seconds(training.step, device)
            times[pool].append(passed)
            computed[pool].append(own)
    for pool, training in trainings.items():
        middle = statistics.median(times[pool])
        found[pool] = {"milliseconds": round(1000 * middle, 2), "images_per_second": round(batch / middle, 1)}
        found[pool] |= {"throughput / max": ratio(times["max"], times[pool]), **floor(training)}
        if device == "cpu" and torch.get_num_threads() == 1:
            found[pool]["throughput / max, process time"] = ratio(computed["max"], computed[pool])
        print("   ", pool, found[pool], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    record: dict[str, object] = {
        "device": device_name(args.device),
        "rounds": args.rounds,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
    all_threads = args.threads if args.device == "cpu" else args.threads[:1]
    rows: list[dict[str, object]] = []
    for threads, network, batch in itertools.product(all_threads, NETWORKS, args.batches):
        torch.set_num_threads(threads)
        print(network, "batch", batch, "threads", threads, flush=True)
        found = compare(network, MAIN, batch, args.device, args.rounds)
        if (threads, batch) == (all_threads[0], args.batches[0]):  # every pooling once
            rest = ("max", *(pool for pool in sapool.list_pools() if pool not in MAIN))
            others = compare(network, rest, batch, args.device, max(4, args.rounds // 3))
            found |= {pool: row for pool, row in others.items() if pool != "max"}
        size, strides = NETWORKS[network]
        row = {"network": network, "input_size": size, "strides": strides, "batch": batch, "threads": threads}
        rows.append(row | {"pools": found})
    record["rows"] = rows
    RESULTS.mkdir(exist_ok=True)
    write_text_atomically(RESULTS / f"training_throughput_{args.device}.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
