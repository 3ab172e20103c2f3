"""Boxes and detectors so small that a whole training run takes a second or two."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sapool.detection import (
    BoxSplits,
    DetectConfig,
    ScatteredBoxes,
    load_boxes,
    make_detector,
    plan_backbone,
    train_detector,
    write_coco,
)
from sapool.networks.tiny import TinyNet
from sapool.training import Hardware, processes

SIDE = 48
QUICK = DetectConfig(epochs=3, batch_size=4, input_size=SIDE, learning_rate=0.005)


def coco_folder(root: Path, train: int = 8, held_out: int = 5) -> Path:
    """Write a COCO folder of a few canvases."""
    for split, count in (("train", train), ("val", held_out), ("test", held_out)):
        write_coco(ScatteredBoxes(split, SIDE, count), root, split)
    return root


def splits(root: Path, config: DetectConfig = QUICK) -> BoxSplits:
    return load_boxes(str(root), SIDE, epochs=config.epochs, seed=config.seed, augment=config.augment)


def detector(pool: str | None = None, side: int = SIDE) -> nn.Module:
    torch.manual_seed(0)
    backbone = TinyNet(10, width=0.25)
    plan = None if pool is None else plan_backbone(backbone, side, pool)
    return make_detector("small", backbone, 10, image_size=side, plan=plan)


def main(root: Path, folder: Path) -> None:
    """Be one process of a run under torchrun; the first writes what the record and the merged results say."""
    torch.set_num_threads(1)
    model, data = detector(), splits(root)
    for module in model.modules():  # statistics over half a batch are others than over a whole one
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
    # SSD divides a batch's loss by its matched boxes, and halves of a batch have other numbers of them: without steps
    # of any size both runs judge the same network.
    config = replace(QUICK, learning_rate=1e-12, weight_decay=0.0)
    record, found = train_detector(model, data, config, folder, hardware=Hardware(accelerator="cpu"))
    if processes().rank == 0:
        log = (folder / "logs" / "metrics.csv").read_text()
        (folder / "outcome.json").write_text(json.dumps({"ap": record.test.ap, "found": found, "log": log}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
