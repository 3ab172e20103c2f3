"""The run around the steps: epochs, checkpoints, logs, several processes; the same for every kind of network."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from sapool.base.records import Reporter, SilentReporter
from sapool.training.checkpoints import (
    METRIC,
    AtomicCheckpoints,
    Keeper,
    Patience,
    last_epoch,
    read_checkpoint,
    resume_from,
    score_of,
)
from sapool.training.config import Hardware, Processes, TrainConfig
from sapool.training.ema import MovingAverage
from sapool.training.module import TrainedModule
from sapool.training.progress import EpochLog, Progress

# Lightning's advice that does not apply: the user chooses the workers, figures are summed before they are logged, and
# the last checkpoint of a folder that was moved is written anew anyway.
_SAID_IN_VAIN = (
    ".*does not have many workers.*", ".*exists and is not empty.*", ".*sync_dist=True.*", "The dirpath has changed.*",
    ".*extract the batch size.*",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A finished run, the module holding the weights of its best epoch.

    Attributes:
        best_epoch: counted from 1.
        score: of that epoch on validation.
        stopped_epoch: the last one.
        seconds: spent, over all calls.
        images_per_second: of all processes together, in training steps.
        device: what it ran on.
    """

    best_epoch: int
    score: float
    stopped_epoch: int
    seconds: float
    images_per_second: float
    device: torch.device


def run_epochs(
    module: TrainedModule,
    batches: DataLoader[Any],
    val: DataLoader[Any],
    folder: Path,
    *,
    data: str,
    reporter: Reporter | None,
    name: str,
    hardware: Hardware,
    process: Processes,
    metric: str = METRIC,
) -> Outcome:
    """Train a module to the end of its recipe, going on where a killed run stopped, and load its best epoch.

    Args:
        module: the network with its loss.
        batches: this process's training batches.
        val: this process's share of validation.
        folder: gets ``checkpoints/`` and ``logs/``.
        data: says what the batches are of; a checkpoint of other data is not gone on with.
        reporter: is told the progress, by the first process.
        name: stands beside the progress bar.
        hardware: how it is executed.
        process: which of how many this is.
        metric: what the module logs in validation that the best epoch is chosen by, the larger the better.

    Raises:
        DivergedError: the loss or its gradient is no longer finite.
        CheckpointError: the folder holds a damaged checkpoint, or one of another network, recipe or data.
        ValueError: an accelerator that is not there.
        OSError: a checkpoint can't be written; the one before is kept.
        KeyboardInterrupt: Ctrl-C; the run can be gone on with.
    """
    _check_accelerator(hardware)
    config, checkpoints = module.config, folder / "checkpoints"
    told = (reporter if process.rank == 0 else None) or SilentReporter()
    resume = resume_from(checkpoints, module.state_dict(), config, data, told.stage)
    progress = Progress(told, name, config, len(batches), metric)
    log, keeper = EpochLog(folder, tensorboard=hardware.tensorboard), Keeper(checkpoints, config, data, metric)
    with _calm_lightning():
        trainer = _trainer(config, hardware, process, metric, [progress, log, keeper, last_epoch(checkpoints)])
        # Lightning leaves a network that comes in eval mode there.
        module.model.train().to(memory_format=module.memory_format)
        _fit(trainer, module, batches, val, resume)
    best = read_checkpoint(Path(keeper.best_model_path))
    module.load_state_dict(best["state_dict"])
    images = len(log.rows) * len(batches.batch_sampler.sampler) * process.world_size  # type: ignore[union-attr]
    return Outcome(
        best_epoch=int(best["epoch"]) + 1,
        score=score_of(best),
        stopped_epoch=len(log.rows),
        seconds=progress.seconds,
        images_per_second=images / max(progress.step_seconds, 1e-9),
        device=trainer.strategy.root_device,
    )


def _check_accelerator(hardware: Hardware) -> None:
    """Refuse what this machine lacks, which Lightning answers with a trace."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(hardware.accelerator, True):
        raise ValueError(f"accelerator {hardware.accelerator!r} is not available here: choose auto or cpu")
    accelerated = hardware.accelerator != "cpu" and any(there.values())
    if hardware.precision == "16-mixed" and not accelerated:
        raise ValueError("precision 16-mixed needs a GPU, and there is none here: choose 32 or bf16-mixed")


def _trainer(
    config: TrainConfig, hardware: Hardware, process: Processes, metric: str, callbacks: list[Callback]
) -> lightning.Trainer:
    several, accelerated = process.world_size > 1, hardware.accelerator != "cpu" and torch.cuda.is_available()
    average: list[Callback] = [MovingAverage(config.ema_decay)] if config.ema_decay else []
    patience: list[Callback] = [Patience(config.patience, metric)] if config.patience else []
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


def _fit(trainer: lightning.Trainer, module: TrainedModule, loader: Any, val: Any, resume: str | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, loader, val, ckpt_path=resume, weights_only=True)
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
