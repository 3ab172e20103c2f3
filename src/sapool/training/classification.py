"""Training a classifier: epoch chosen on validation, test split used once, restart where a killed run stopped."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sapool.graph import evaluating
from sapool.records import Reporter, SilentReporter, TrainRecord, write_bytes_atomically
from sapool.training.config import TrainConfig
from sapool.training.data import DataSplits, Images, eval_loader, train_loader

Batch = tuple[Tensor, Tensor]


class DivergedError(ValueError):
    """The loss is no longer a finite number; the last good checkpoint is kept."""


class Classifier(lightning.LightningModule):
    """A network under cross-entropy, AdamW and a one-cycle learning rate."""

    def __init__(self, model: nn.Module, config: TrainConfig, total_steps: int) -> None:
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self._right = self._seen = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch: images (N, C, H, W), labels (N,)."""
        images, labels = batch
        loss = F.cross_entropy(self.model(images), labels, label_smoothing=self.config.label_smoothing)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1}, step {batch_idx + 1}: "
                f"lower learning_rate (now {self.config.learning_rate}); the last good checkpoint is kept"
            )
        return loss

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make whatever is random in a step depend on the seed and the step alone, so that a restart repeats it."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._right = self._seen = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the right answers of one batch."""
        images, labels = batch
        self._right += int((self.model(images).argmax(1) == labels).sum())
        self._seen += len(labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's validation accuracy."""
        self.log("val_accuracy", self._right / self._seen)

    def configure_optimizers(self) -> Any:
        """Return AdamW (decay on weight matrices only) and its one-cycle schedule."""
        decayed = [m.weight for m in self.model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        chosen = {id(p) for p in decayed}
        others = [p for p in self.model.parameters() if id(p) not in chosen]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.learning_rate, total_steps=self.total_steps, pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Progress(Callback):
    """Tells the reporter about every step, and keeps the time spent across restarts."""

    def __init__(self, reporter: Reporter, name: str, config: TrainConfig, steps_per_epoch: int) -> None:
        self.reporter, self.name = reporter, name
        self.total, self.steps_per_epoch, self.epochs = config.epochs * steps_per_epoch, steps_per_epoch, config.epochs
        self.seconds, self._since = 0.0, time.monotonic()
        self._val: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds + time.monotonic() - self._since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = float(state_dict["seconds"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._since = time.monotonic()
        self.reporter.start(self.name, self.total)
        for _ in range(trainer.current_epoch * self.steps_per_epoch):
            self.reporter.advance()

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        known = "" if self._val is None else f", validation {self._val:.1%}"
        self.reporter.advance(f"epoch {trainer.current_epoch + 1}/{self.epochs}{known}")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._val = float(trainer.callback_metrics["val_accuracy"])

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.seconds += time.monotonic() - self._since
        self.reporter.finish()


def train(
    model: nn.Module,
    data: DataSplits,
    config: TrainConfig,
    folder: str | Path,
    *,
    reporter: Reporter | None = None,
    name: str = "training",
) -> TrainRecord:
    """Train ``model`` in place; it ends with the weights of its best epoch on validation, in eval mode.

    A checkpoint is written after every epoch. Called again with the same arguments after a kill, it goes on behind the
    last finished epoch and gives the same result as an unbroken run.

    Args:
        model: network (N, C, H, W) -> (N, classes).
        data: the splits; test is used once, at the end.
        config: the recipe.
        folder: where checkpoints go, under ``checkpoints/``.
        reporter: is told the progress.
        name: stands beside the progress bar.

    Returns:
        The outcome.

    Raises:
        DivergedError: the loss is no longer finite.
        KeyboardInterrupt: Ctrl-C; the run can be gone on with.
    """
    torch.manual_seed(config.seed)
    loader = train_loader(data, config.batch_size, config.seed)
    classifier = Classifier(model, config, config.epochs * len(loader))
    progress = _Progress(reporter or SilentReporter(), name, config, len(loader))
    keeper = _checkpoints(Path(folder) / "checkpoints")
    last = Path(folder) / "checkpoints" / "last.ckpt"
    with _calm_lightning():
        trainer = _trainer(config, [progress, keeper])
        _fit(trainer, classifier, loader, eval_loader(data.val), str(last) if last.is_file() else None)
    best = torch.load(keeper.best_model_path, map_location="cpu", weights_only=True)
    classifier.load_state_dict(best["state_dict"])
    model.to("cpu").eval()
    return TrainRecord(
        epochs=config.epochs,
        best_epoch=int(best["epoch"]) + 1,
        val_accuracy=float(keeper.best_model_score),  # type: ignore[arg-type]
        test_accuracy=evaluate(model, data.test),
        train_seconds=progress.seconds,
    )


def _checkpoints(folder: Path) -> ModelCheckpoint:
    """Keep the best epoch on validation and the last one."""
    return ModelCheckpoint(
        folder,
        "best",
        monitor="val_accuracy",
        mode="max",
        save_last=True,
        enable_version_counter=False,
        # Behind the whole epoch: one saved at the end of validation would repeat the epoch's last step on restart.
        save_on_train_epoch_end=True,
    )


def _trainer(config: TrainConfig, callbacks: list[Callback]) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=config.epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
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
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for said in (".*does not have many workers.*", ".*exists and is not empty.*", ".*smaller than the logging.*"):
            warnings.filterwarnings("ignore", said)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            yield
        finally:
            logger.setLevel(level)


def evaluate(model: nn.Module, images: Images) -> float:
    """Return the share of ``images`` that ``model`` classifies rightly, in eval mode."""
    right = seen = 0
    with evaluating(model):
        for batch, labels in eval_loader(images):
            right += int((model(batch).argmax(1) == labels).sum())
            seen += len(labels)
    return right / seen


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's state as safetensors, under a temporary name first."""
    state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    write_bytes_atomically(Path(path), save(state))


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read a safetensors file into ``model``.

    Raises:
        ValueError: no such file, no safetensors file, or the weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        model.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: the weights of another network or plan: {reason}") from None
