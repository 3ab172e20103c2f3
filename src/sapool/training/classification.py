"""Training a classifier: epoch chosen on validation, test split used once, restart where a killed run stopped."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from sapool.graph import evaluating
from sapool.records import Reporter, SilentReporter, TrainRecord
from sapool.training.checkpoints import (
    AtomicCheckpoints,
    Keeper,
    Patience,
    last_epoch,
    read_checkpoint,
    resume_from,
    score_of,
)
from sapool.training.classifier import Classifier
from sapool.training.config import Hardware, Processes, TrainConfig, processes
from sapool.training.data import DataSplits, Images
from sapool.training.ema import MovingAverage
from sapool.training.loading import Batches, eval_loader, train_loader
from sapool.training.progress import EpochLog, Progress

_EVAL_BATCH = 128
# Lightning's advice that does not apply: the user chooses the workers, figures are summed before they are logged, and
# the last checkpoint of a folder that was moved is written anew anyway.
_SAID_IN_VAIN = (
    ".*does not have many workers.*", ".*exists and is not empty.*", ".*sync_dist=True.*", "The dirpath has changed.*",
)  # fmt: skip


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
        CheckpointError: the folder holds another network's or recipe's checkpoint, or a damaged one.
        ValueError: a batch that can't be shared out among the processes, or an accelerator that is not there.
        OSError: a checkpoint can't be written; the one before is kept.
        KeyboardInterrupt: Ctrl-C; the run can be gone on with.
    """
    hardware, process, folder = hardware or Hardware(), processes(), Path(folder)
    _check_accelerator(hardware)
    torch.manual_seed(config.seed)
    batches = train_loader(data, config.batch_size, config.seed, hardware, process)
    classifier = Classifier(model, config, config.epochs * len(batches), data.num_classes, hardware, teacher)
    checkpoints = folder / "checkpoints"
    resume = resume_from(checkpoints, classifier.state_dict(), config)
    told = (reporter if process.rank == 0 else None) or SilentReporter()
    progress, log = Progress(told, name, config, len(batches)), EpochLog(folder, tensorboard=hardware.tensorboard)
    keeper = Keeper(checkpoints, config)
    with _calm_lightning():
        trainer = _trainer(config, hardware, process, [progress, log, keeper, last_epoch(checkpoints)])
        model.to(memory_format=classifier.memory_format)
        _fit(trainer, classifier, batches, eval_loader(data.val, _EVAL_BATCH, hardware, process), resume)
    best = read_checkpoint(Path(keeper.best_model_path))
    classifier.load_state_dict(best["state_dict"])
    model.to(trainer.strategy.root_device).eval()
    test_accuracy = _shared_accuracy(model, eval_loader(data.test, _EVAL_BATCH, hardware, process))
    model.to("cpu").to(memory_format=torch.contiguous_format)
    return TrainRecord(
        epochs=config.epochs,
        best_epoch=int(best["epoch"]) + 1,
        val_accuracy=score_of(best),
        test_accuracy=test_accuracy,
        train_seconds=progress.seconds,
        stopped_epoch=len(log.rows),
        images_per_second=_throughput(len(log.rows) * len(batches), batches, process, progress),
        skipped=sum(data.skipped.values()),
    )


def _check_accelerator(hardware: Hardware) -> None:
    """Refuse what this machine lacks, which Lightning answers with a trace."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(hardware.accelerator, True):
        raise ValueError(f"accelerator {hardware.accelerator!r} is not available here: choose auto or cpu")
    accelerated = hardware.accelerator != "cpu" and any(there.values())
    if hardware.precision == "16-mixed" and not accelerated:
        raise ValueError("precision 16-mixed needs a GPU, and there is none here: choose 32 or bf16-mixed")


def _throughput(steps: int, batches: Batches, process: Processes, progress: Progress) -> float:
    return steps * (batches.batch_size or 0) * process.world_size / max(progress.step_seconds, 1e-9)


def _trainer(
    config: TrainConfig, hardware: Hardware, process: Processes, callbacks: list[Callback]
) -> lightning.Trainer:
    several, accelerated = process.world_size > 1, hardware.accelerator != "cpu" and torch.cuda.is_available()
    average: list[Callback] = [MovingAverage(config.ema_decay)] if config.ema_decay else []
    patience: list[Callback] = [Patience(config.patience)] if config.patience else []
    return lightning.Trainer(
        max_epochs=config.epochs,
        accelerator=hardware.accelerator,
        devices=process.local_size,
        num_nodes=process.world_size // process.local_size,
        strategy="ddp" if several else "auto",
        precision="32-true" if hardware.precision == "32" else hardware.precision,  # type: ignore[arg-type]
        plugins=[AtomicCheckpoints()],
        logger=False,
        callbacks=[*average, *patience, *callbacks],
        use_distributed_sampler=False,
        sync_batchnorm=several and accelerated,
        benchmark=accelerated,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _fit(trainer: lightning.Trainer, classifier: Classifier, loader: Any, val: Any, resume: str | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(classifier, loader, val, ckpt_path=resume, weights_only=True)
    except SystemExit as error:
        # Lightning answers Ctrl-C by leaving the process; the caller decides about that here.
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _calm_lightning() -> Iterator[None]:
    """Leave out what Lightning says about hardware and loaders; its errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for said in _SAID_IN_VAIN:
            warnings.filterwarnings("ignore", said)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


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
