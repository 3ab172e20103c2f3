"""Trains in child processes that are killed at random moments, and once unbroken; prints both outcomes as JSON.

Run by test_classification: forking here, before torch has threads, saves importing it for every child.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sapool.training import save_weights, train
from tests.training.tiny import EVERYTHING, blobs, network

CONFIG = replace(EVERYTHING, epochs=6)


def run(folder: Path) -> None:
    torch.set_num_threads(1)
    model = network(dropout=0.3)
    record = train(model, blobs(CONFIG.epochs, train=160), CONFIG, folder)
    save_weights(model, folder / "weights.safetensors")
    (folder / "done.json").write_text(json.dumps(asdict(record)))


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid


def dies_writing(folder: Path, call: int) -> None:
    """Leave half a file at the so-many-th checkpoint."""
    real, calls = Path.write_bytes, []

    def half(path: Path, data: bytes) -> int:
        calls.append(path)
        if len(calls) == call:
            real(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, data)

    Path.write_bytes = half  # type: ignore[method-assign, assignment]
    run(folder)


def killed_while_writing(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return int(os.WIFSIGNALED(status))


def killed_after(seconds: float, pid: int) -> int:
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return int(os.WIFSIGNALED(status))


def main(folder: Path) -> dict[str, Any]:
    unbroken, broken = folder / "unbroken", folder / "broken"
    start = time.monotonic()
    os.waitpid(child(lambda: run(unbroken)), 0)
    whole = time.monotonic() - start
    chance, kills = random.Random(0), 0
    for call in (1, 2, 4):
        kills += killed_while_writing(child(lambda call=call: dies_writing(broken, call)))  # type: ignore[misc]
    for _ in range(4):
        kills += killed_after(chance.uniform(0.1, 0.6) * whole, child(lambda: run(broken)))
    os.waitpid(child(lambda: run(broken)), 0)
    found = {"kills": kills, "left": [str(path) for path in broken.rglob("*.tmp")]}
    for name in ("unbroken", "broken"):
        found[name] = json.loads((folder / name / "done.json").read_text())
        found[f"{name} log"] = (folder / name / "logs" / "metrics.csv").read_text()
    same = [(folder / name / "weights.safetensors").read_bytes() for name in ("unbroken", "broken")]
    return found | {"same weights": same[0] == same[1]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
