"""Training a classifier: epoch chosen on validation, test split used once, restart where a killed run stopped."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sapool.base.records import Reporter, TrainRecord
from sapool.networks.traced import evaluating
from sapool.training.classifier import Classifier
from sapool.training.config import Hardware, TrainConfig, processes
from sapool.training.data import DataSplits, Images
from sapool.training.loading import Batches, eval_loader, train_loader
from sapool.training.loop import run_epochs

_EVAL_BATCH = 128


def train(
    model: nn.Module,
    data: DataSplits,
    config: TrainConfig,
    folder: str | Path,
    *,
    reporter: Reporter | None = None,
    name: str = "training",
    hardware: Hardware | None = None,
    teacher: nn.Module | None = None,
) -> TrainRecord:
    """Train ``model`` in place; it ends with the weights of its best epoch on validation, on the CPU, in eval mode.

    A checkpoint is written after every epoch. Called again with the same arguments after a kill, it goes on behind the
    last finished epoch and gives the same result as an unbroken run. Under ``torchrun`` every process calls it with
    the same arguments and a folder that all of them see; only the first writes and reports.

    Args:
        model: network (N, C, H, W) -> (N, classes).
        data: the splits; test is used once, at the end.
        config: the recipe; its batch is the one of all processes together.
        folder: where checkpoints go, under ``checkpoints/``, and a row of figures an epoch, under ``logs/``.
        reporter: is told the progress.
        name: stands beside the progress bar.
        hardware: how it is executed; by default in this process, in float32.
        teacher: a trained network for the same classes and images to learn from; it is left in eval mode.

    Returns:
        The outcome.

    Raises:
        DivergedError: the loss or its gradient is no longer finite.
        CheckpointError: the folder holds a damaged checkpoint, or one of another network, recipe or data set.
        ValueError: a batch that can't be shared out among the processes, or an accelerator that is not there.
        OSError: a checkpoint can't be written; the one before is kept.
        KeyboardInterrupt: Ctrl-C; the run can be gone on with.
    """
    hardware, process = hardware or Hardware(), processes()
    torch.manual_seed(config.seed)
    batches = train_loader(data, config.batch_size, config.seed, hardware, process)
    classifier = Classifier(model, config, config.epochs * len(batches), data.num_classes, hardware, teacher)
    val = eval_loader(data.val, _EVAL_BATCH, hardware, process)
    outcome = run_epochs(
        classifier,
        batches,
        val,
        Path(folder),
        data=f"{data.name} ({data.images_per_epoch:,} images)",
        reporter=reporter,
        name=name,
        hardware=hardware,
        process=process,
    )
    model.to(outcome.device).eval()
    test_accuracy = _shared_accuracy(model, eval_loader(data.test, _EVAL_BATCH, hardware, process))
    model.to("cpu").to(memory_format=torch.contiguous_format)
    return TrainRecord(
        epochs=config.epochs,
        best_epoch=outcome.best_epoch,
        val_accuracy=outcome.score,
        test_accuracy=test_accuracy,
        train_seconds=outcome.seconds,
        stopped_epoch=outcome.stopped_epoch,
        images_per_second=outcome.images_per_second,
        skipped=sum(data.skipped.values()),
    )


def evaluate(model: nn.Module, images: Images) -> float:
    """Return the share of ``images`` that ``model`` classifies rightly, in eval mode."""
    right, seen = _count_right(model, eval_loader(images)).tolist()
    return right / seen


def _shared_accuracy(model: nn.Module, share: Batches) -> float:
    """Return the accuracy over all processes' shares."""
    counts = _count_right(model, share)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(counts)
    right, seen = counts.tolist()
    return right / seen


def _count_right(model: nn.Module, batches: Batches) -> Tensor:
    """Return (right, seen) as integers on the model's device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    counts = torch.zeros(2, dtype=torch.int64, device=device)
    with evaluating(model):
        for images, labels in batches:
            answers = model(images.to(device, non_blocking=True)).argmax(1)
            counts += torch.stack([(answers == labels.to(device)).sum(), torch.tensor(len(labels), device=device)])
    return counts
