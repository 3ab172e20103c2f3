"""What one step of training does, apart from when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.transforms import v2

from sapool.training.checkpoints import METRIC
from sapool.training.config import Hardware, TrainConfig
from sapool.training.distillation import Teacher, distillation_loss
from sapool.training.divergence import DivergedError, where_it_broke
from sapool.training.optimizers import build_optimizer, build_schedule

Batch = tuple[Tensor, Tensor]


class Classifier(lightning.LightningModule):
    """A network under the recipe's loss, optimiser and schedule.

    Args:
        model: network (N, C, H, W) -> (N, classes).
        config: the recipe.
        total_steps: of the whole run.
        num_classes: needed to mix labels.
        hardware: compiled or not, and which memory format.
        teacher: whose answers are part of the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        total_steps: int,
        num_classes: int = 10,
        hardware: Hardware | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self.hardware = hardware or Hardware()
        # A function, not a Module: the state must not hold the network twice.
        self._compiled: Callable[[Tensor], Tensor] | None = (
            torch.compile(model.forward) if self.hardware.compile else None
        )
        self._teacher = Teacher(teacher) if teacher is not None else None
        self._mix = _mixer(config, num_classes)
        self._right = self._seen = 0
        self._loss_sum, self._steps = torch.zeros(()), 0
        self._last: tuple[Tensor, Tensor, int] | None = None

    def scores(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, C, H, W)."""
        return self.model(images) if self._compiled is None else self._compiled(images)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Bring the images into the network's memory format."""
        images, labels = batch
        return images.contiguous(memory_format=self.memory_format), labels

    @property
    def memory_format(self) -> torch.memory_format:
        """How maps are stored."""
        return torch.channels_last if self.hardware.channels_last else torch.contiguous_format

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make whatever is random in a step depend on seed, step and process alone, so that a restart repeats it."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step + (self.global_rank << 50))

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._loss_sum, self._steps = torch.zeros((), device=self.device), 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch: images (N, C, H, W), labels (N,)."""
        images, labels = batch if self._mix is None else self._mix(*batch)
        scores = self.scores(images)
        loss = F.cross_entropy(scores, labels, label_smoothing=self.config.label_smoothing)
        if self._teacher is not None:
            weight = self.config.distill_weight
            taught = distillation_loss(scores, self._teacher(images), self.config.distill_temperature)
            loss = (1 - weight) * loss + weight * taught
        self._last = (loss.detach(), images, batch_idx)
        self._loss_sum += loss.detach()
        self._steps += 1
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient's norm, and stop where loss or gradient is no number: one look for both, once a step.

        Raises:
            DivergedError: the loss or the gradient is not finite.
        """
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._check_finite(norm)
        if self.config.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)

    def _check_finite(self, norm: Tensor) -> None:
        if self._last is None:  # pragma: no cover - a gradient without a step
            return
        loss, images, batch_idx = self._last
        # Half precision scales the loss until the gradient overflows, and then leaves that step out.
        judged = loss if self.hardware.precision == "16-mixed" else loss + norm.to(loss.device)
        if torch.isfinite(judged):
            return
        what = f"loss became {loss.item()}" if not torch.isfinite(loss) else f"gradient's norm became {norm.item()}"
        raise DivergedError(
            f"the {what} in epoch {self.current_epoch + 1}, step {batch_idx + 1}: lower learning_rate (now "
            f"{self.config.learning_rate}); the last good checkpoint is kept; {where_it_broke(self.model, images)}"
        )

    def on_validation_epoch_start(self) -> None:
        """Start counting, on every process with the statistics that the first one will save."""
        self._right = self._seen = 0
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the right answers of one batch."""
        images, labels = batch
        self._right += int((self.scores(images).argmax(1) == labels).sum())
        self._seen += len(labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's figures: counts over all processes, the mean of their losses, the rate reached."""
        counts = torch.tensor([self._right, self._seen], device=self.device)
        right, seen = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        loss = self.trainer.strategy.reduce(self._loss_sum / max(1, self._steps), reduce_op="mean")
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict({METRIC: right / seen, "train_loss": loss, "learning_rate": rate})

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimiser and schedule, which moves on after every step."""
        optimizer = build_optimizer(self.model, self.config, fused=self.hardware.precision != "16-mixed")
        schedule = build_schedule(optimizer, self.config, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _mixer(config: TrainConfig, num_classes: int) -> Callable[[Tensor, Tensor], Batch] | None:
    """Return what mixes a batch's images (N, C, H, W) and labels (N,) -> (N, classes), or None."""
    chosen: list[nn.Module] = []
    if config.mixup_alpha:
        chosen.append(v2.MixUp(alpha=config.mixup_alpha, num_classes=num_classes))
    if config.cutmix_alpha:
        chosen.append(v2.CutMix(alpha=config.cutmix_alpha, num_classes=num_classes))
    if not chosen:
        return None
    return chosen[0] if len(chosen) == 1 else v2.RandomChoice(chosen)
