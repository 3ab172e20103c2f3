"""What one step of training a classifier does, apart from when it is done."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from sapool.training.checkpoints import METRIC
from sapool.training.config import Hardware, TrainConfig
from sapool.training.distillation import Teacher, distillation_loss
from sapool.training.module import TrainedModule

Batch = tuple[Tensor, Tensor]


class Classifier(TrainedModule):
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
        super().__init__(model, config, total_steps, hardware)
        self._teacher = Teacher(teacher) if teacher is not None else None
        self._mix = _mixer(config, num_classes)
        self._right = self._seen = 0

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Bring the images into the network's memory format."""
        images, labels = batch
        return images.contiguous(memory_format=self.memory_format), labels

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch: images (N, C, H, W), labels (N,)."""
        images, labels = batch if self._mix is None else self._mix(*batch)
        scores = self.answer(images)
        loss = F.cross_entropy(scores, labels, label_smoothing=self.config.label_smoothing)
        if self._teacher is not None:
            weight = self.config.distill_weight
            taught = distillation_loss(scores, self._teacher(images), self.config.distill_temperature)
            loss = (1 - weight) * loss + weight * taught
        return self.note(loss, (images,), batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        super().on_validation_epoch_start()
        self._right = self._seen = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the right answers of one batch."""
        images, labels = batch
        self._right += int((self.answer(images).argmax(1) == labels).sum())
        self._seen += len(labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's figures, counts over all processes."""
        counts = torch.tensor([self._right, self._seen], device=self.device)
        right, seen = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        self.log_epoch({METRIC: right / seen})


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
