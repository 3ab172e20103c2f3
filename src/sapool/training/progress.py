"""What a run says of itself while it goes: the bar, the clock and a row of figures an epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from sapool.base.extras import require
from sapool.base.records import Reporter
from sapool.training.checkpoints import METRIC
from sapool.training.config import TrainConfig


class Progress(Callback):
    """Tells the reporter about every step, and keeps the time spent across restarts.

    Attributes:
        seconds: spent in finished epochs, validation and checkpoints included.
        step_seconds: of these, spent in training steps and in waiting for their images.
    """

    def __init__(
        self, reporter: Reporter, name: str, config: TrainConfig, steps_per_epoch: int, metric: str = METRIC
    ) -> None:
        self.reporter, self.name, self.metric = reporter, name, metric
        self.steps_per_epoch, self.epochs = steps_per_epoch, config.epochs
        self.seconds = self.step_seconds = 0.0
        self._since = self._epoch_since = time.monotonic()
        self._val: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the clocks."""
        return {"seconds": self.seconds + time.monotonic() - self._since, "step_seconds": self.step_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the clocks stood."""
        self.seconds, self.step_seconds = float(state_dict["seconds"]), float(state_dict["step_seconds"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the bar where an earlier call left it."""
        self._since = time.monotonic()
        self.reporter.start(self.name, self.epochs * self.steps_per_epoch)
        for _ in range(trainer.current_epoch * self.steps_per_epoch):
            self.reporter.advance()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock of the steps."""
        self._epoch_since = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move the bar."""
        known = "" if self._val is None else f", validation {self._val:.1%}"
        self.reporter.advance(f"epoch {trainer.current_epoch + 1}/{self.epochs}{known}")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop the clock of the steps."""
        self.step_seconds += time.monotonic() - self._epoch_since

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remember what to say beside the bar."""
        self._val = float(trainer.callback_metrics[self.metric])

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the bar."""
        self.seconds += time.monotonic() - self._since
        self.reporter.finish()


class EpochLog(Callback):
    """A row an epoch in ``logs/metrics.csv``, and for TensorBoard on request.

    The checkpoint holds the rows, and a restart writes them anew: none is lost or there twice, whenever a kill came.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self.folder, self.tensorboard = folder / "logs", tensorboard
        self.rows: list[dict[str, float]] = []
        self._loggers: list[Logger] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of finished epochs."""
        self.rows = list(state_dict["rows"])

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the files again with what is known."""
        if not trainer.is_global_zero:
            return
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        (self.folder / "metrics.csv").unlink(missing_ok=True)
        place: dict[str, Any] = {"save_dir": self.folder.parent, "name": self.folder.name, "version": ""}
        self._loggers = [CSVLogger(**place)]
        if self.tensorboard:
            require("tensorboard", "train", "TensorBoard's log")
            self._loggers.append(TensorBoardLogger(**place))
        for row in self.rows:
            self._write(row)
        self._save()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch that is over."""
        row = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append({"step": trainer.global_step, "epoch": trainer.current_epoch + 1, **row})
        self._write(self.rows[-1])
        self._save()

    def _write(self, row: dict[str, float]) -> None:
        for logger in self._loggers:
            logger.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))

    def _save(self) -> None:
        for logger in self._loggers:
            logger.save()
