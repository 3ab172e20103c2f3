"""One process of a run under torchrun; the first prints the outcome as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from sapool.training import Hardware, TrainConfig, processes, train
from tests.training.tiny import blobs, network

CONFIG = TrainConfig(epochs=3, batch_size=10, learning_rate=0.02)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    data = blobs(CONFIG.epochs, train=52, held_out=37)
    record = train(network(norm=False), data, CONFIG, folder, hardware=Hardware(accelerator="cpu"))
    if processes().rank == 0:
        log = (folder / "logs" / "metrics.csv").read_text()
        (folder / "outcome.json").write_text(json.dumps({"record": asdict(record), "log": log}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
