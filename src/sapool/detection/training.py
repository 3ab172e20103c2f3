"""Training a detector: epoch chosen on validation, test split used once, restart where a killed run stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sapool.base.records import Reporter
from sapool.detection.boxes import BoxDataset, collate
from sapool.detection.config import DetectConfig
from sapool.detection.evaluation import CocoResult, DetectionRecord, detect, evaluate_results
from sapool.detection.module import AP, DetectorModule, gather_results
from sapool.detection.splits import BoxSplits
from sapool.training import Hardware, eval_loader, processes, train_loader
from sapool.training.loop import run_epochs

_EVAL_BATCH = 16


@dataclass(frozen=True)
class DetectorRecord:
    """Outcome of a detector's training.

    Attributes:
        epochs: of the recipe.
        best_epoch: with the highest AP on validation, counted from 1.
        stopped_epoch: the last one.
        val_ap: AP of the best epoch on validation.
        test: COCO's figures on test, of that epoch's weights.
        train_seconds: validation and checkpoints included, over all calls.
        images_per_second: in training steps.
    """

    epochs: int
    best_epoch: int
    stopped_epoch: int
    val_ap: float
    test: DetectionRecord
    train_seconds: float
    images_per_second: float


def train_detector(
    model: nn.Module,
    data: BoxSplits,
    config: DetectConfig,
    folder: str | Path,
    *,
    reporter: Reporter | None = None,
    name: str = "training",
    hardware: Hardware | None = None,
) -> tuple[DetectorRecord, list[CocoResult]]:
    """Train a detector in place; it ends with the weights of its best epoch on validation, on the CPU, in eval mode.

    A checkpoint is written after every epoch. Called again with the same arguments after a kill, it goes on behind the
    last finished epoch and gives the same result as an unbroken run. Under ``torchrun`` every process calls it.

    Args:
        model: a detector of :func:`make_detector`, for the recipe's image size.
        data: the splits; test is used once, at the end.
        config: the recipe; its batch is the one of all processes together.
        folder: where checkpoints go, under ``checkpoints/``, and a row of figures an epoch, under ``logs/``.
        reporter: is told the progress.
        name: stands beside the progress bar.
        hardware: how it is executed; by default in this process, in float32.

    Returns:
        The outcome, and what was found on the test images, as COCO results.

    Raises:
        DivergedError: the loss or its gradient is no longer finite.
        CheckpointError: the folder holds a damaged checkpoint, or one of another network, recipe or data set.
        ValueError: a batch that can't be shared out among the processes, an accelerator that is not there, or a
            compiled detector.
        OSError: a checkpoint can't be written; the one before is kept.
        KeyboardInterrupt: Ctrl-C; the run can be gone on with.
    """
    hardware, process = hardware or Hardware(), processes()
    if hardware.compile:
        raise ValueError("compile is for classifiers: what a detector computes depends on what it finds; leave it out")
    torch.manual_seed(config.seed)
    batches = train_loader(data, config.batch_size, config.seed, hardware, process, collate)
    recipe = config.with_warmup(len(batches))
    steps = config.epochs * len(batches)
    module = DetectorModule(model, recipe, steps, data.truth("val"), data.val.category_ids, hardware)
    outcome = run_epochs(
        module,
        batches,
        eval_loader(data.val, _EVAL_BATCH, hardware, process, collate),
        Path(folder),
        data=f"{data.name} ({data.images_per_epoch:,} images)",
        reporter=reporter,
        name=name,
        hardware=hardware,
        process=process,
        metric=AP,
    )
    model.to(outcome.device)
    found = _find(model, data.test, eval_loader(data.test, _EVAL_BATCH, hardware, process, collate))
    model.to("cpu").to(memory_format=torch.contiguous_format).eval()
    record = DetectorRecord(
        epochs=config.epochs,
        best_epoch=outcome.best_epoch,
        stopped_epoch=outcome.stopped_epoch,
        val_ap=outcome.score,
        test=evaluate_results(data.truth("test"), found),
        train_seconds=outcome.seconds,
        images_per_second=outcome.images_per_second,
    )
    return record, found


def _find(model: nn.Module, images: BoxDataset, batches: Iterable[object]) -> list[CocoResult]:
    return gather_results(detect(model, images, batches=batches))
