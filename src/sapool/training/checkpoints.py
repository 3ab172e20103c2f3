"""Checkpoints: the best epoch on validation and the last two, whole at every moment, read without pickle."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from sapool.base.errors import SapoolError
from sapool.base.files import write_bytes_atomically
from sapool.training.config import TrainConfig

METRIC = "val_accuracy"
_RECIPE, _DATA, _SCORE = "recipe", "data", "score"
LAST, BEFORE, BEST = "last.ckpt", "before.ckpt", "best.ckpt"


class CheckpointError(SapoolError, ValueError):
    """A checkpoint that can't be read, or is of another run."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the file and renames: a kill leaves the old checkpoint or the new one, on the same disk.

    The one before the last is kept: a disk may damage what was whole when it was written.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one.

        Raises:
            OSError: the disk is full, or another reason; the checkpoint that was there is kept.
        """
        buffer, path = io.BytesIO(), Path(path)
        torch.save(checkpoint, buffer)
        try:
            if path.name == LAST and path.is_file():
                _keep(path)
            write_bytes_atomically(path, buffer.getvalue())
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "make room" if full else "mend that"
            reason = "the disk is full" if full else error.strerror or str(error)
            raise OSError(
                f"{path}: {reason}; the last good checkpoint is kept: {advice} and give the same command again"
            ) from error


class Keeper(ModelCheckpoint):
    """Keeps the best epoch on validation; every checkpoint gets the recipe and the data that it belongs to."""

    def __init__(self, folder: Path, config: TrainConfig, data: str, metric: str = METRIC) -> None:
        super().__init__(
            folder,
            "best",
            monitor=metric,
            mode="max",
            enable_version_counter=False,
            # Behind the whole epoch: one saved at the end of validation would repeat the epoch's last step on restart.
            save_on_train_epoch_end=True,
        )
        self.config, self.data = config, data

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write recipe, data and this epoch's own score beside the weights."""
        checkpoint[_RECIPE], checkpoint[_DATA] = _plain(self.config), self.data
        checkpoint[_SCORE] = float(trainer.callback_metrics[str(self.monitor)])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best epoch of this folder, also where the folder was moved or copied since."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        here: dict[str, Any] = {name: self._here(state_dict[name]) for name in paths}
        here["best_k_models"] = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | here | {"dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


def last_epoch(folder: Path) -> ModelCheckpoint:
    """Return what keeps the last epoch: ``save_last`` of the other one would only keep those that were the best."""
    return ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True)


class Patience(EarlyStopping):
    """Stops when validation has not improved for so many epochs; a restart of a stopped run stays stopped."""

    def __init__(self, epochs: int, metric: str = METRIC) -> None:
        super().__init__(metric, patience=epochs, mode="max", check_on_train_epoch_end=False)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say again what the checkpoint knows: the trainer itself forgets why it stopped."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def _keep(last: Path) -> None:
    """Keep the last checkpoint under the name of the one before it; it itself stays until the new one is whole."""
    before = last.with_name(BEFORE)
    linked = last.with_name(f".{BEFORE}.{os.getpid()}.tmp")
    linked.unlink(missing_ok=True)
    try:
        linked.hardlink_to(last)
    except OSError:  # a file system without hard links
        write_bytes_atomically(before, last.read_bytes())
    else:
        linked.replace(before)


def resume_from(
    folder: Path, state: dict[str, Tensor], config: TrainConfig, data: str, tell: Callable[[str], None]
) -> str | None:
    """Return the last whole checkpoint in ``folder`` if there is one, after checking that it belongs to this run.

    Args:
        folder: of the checkpoints.
        state: of the network that is to be trained.
        config: its recipe.
        data: what it is trained on.
        tell: is told that the last one is damaged and that training goes on from the one before.

    Raises:
        CheckpointError: damaged with none before it, of another recipe, of other data or of another network, or without
            the best one.
    """
    if not (folder / LAST).is_file():
        return None
    best = folder / BEST
    if not best.is_file():
        raise CheckpointError(f"{folder / LAST} is there, but not {best.name}: remove {folder} to start anew")
    read_checkpoint(best)  # damage is said before epochs are trained in vain
    path, held = _last_whole(folder, tell)
    wanted = _plain(config)
    recipe = held.get(_RECIPE, wanted)
    for key, value in wanted.items():
        if recipe.get(key, value) != value:
            raise CheckpointError(
                f"{path} is of another recipe ({key} is {recipe.get(key)} there, {value} here); choose another folder"
            )
    if held.get(_DATA, data) != data:
        raise CheckpointError(f"{path} was trained on {held[_DATA]}, not on {data}; choose another folder")
    _check_shapes(path, held["state_dict"], state)
    return str(path)


def _last_whole(folder: Path, tell: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """Return the last checkpoint, or, where a disk has damaged it, the one before."""
    last, before = folder / LAST, folder / BEFORE
    try:
        return last, read_checkpoint(last)
    except CheckpointError as error:
        if not before.is_file():
            raise
        held = read_checkpoint(before)
        said = str(error).partition(": remove ")[0]
        tell(f"{said}; training goes on from the one before it, behind epoch {int(held['epoch']) + 1}")
        return before, held


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running what is in it.

    Raises:
        CheckpointError: it is damaged or no checkpoint.
    """
    content = io.BytesIO(path.read_bytes())  # first: of a file cut short torch's reader says that it can't be opened
    try:
        held = torch.load(content, map_location="cpu", weights_only=True)
        if isinstance(held, dict) and isinstance(held.get("state_dict"), dict):
            return held
        reason = "it holds no weights"
    except RuntimeError as error:
        reason = str(error).split("\n", 1)[0]
    except Exception:  # what damaged bytes raise depends on the bytes, and says nothing
        reason = "not what torch.save writes"
    raise CheckpointError(f"{path} is damaged or no checkpoint ({reason}): remove {path.parent} to start anew")


def score_of(checkpoint: dict[str, Any]) -> float:
    """Return the validation score of the epoch that a checkpoint was saved in."""
    return float(checkpoint[_SCORE])


def _check_shapes(path: Path, held: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Compare names and shapes: another architecture or plan differs in one of the two."""
    for key in [*wanted, *held]:
        there, here = (tuple(state[key].shape) if key in state else None for state in (held, wanted))
        if there != here:
            said = [f"{shape} {place}" if shape is not None else f"missing {place}" for shape, place in
                    ((there, "there"), (here, "here"))]  # fmt: skip
            raise CheckpointError(
                f"{path} is a checkpoint of another network or plan ({key.removeprefix('model.')} is "
                f"{said[0]}, {said[1]}); choose another folder, or remove that one"
            )


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Return the recipe in the types that JSON and a weights-only checkpoint have."""
    return json.loads(json.dumps(asdict(config)))
