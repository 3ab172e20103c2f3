"""What one step of training a detector does, and how an epoch is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapool.detection.boxes import CocoAnnotations, Target
from sapool.detection.config import DetectConfig
from sapool.detection.evaluation import CocoResult, as_coco_results, evaluate_results
from sapool.layers import POOLS
from sapool.training import Hardware
from sapool.training.module import TrainedModule

Batch = tuple[list[Tensor], list[Target]]
AP, AP50 = "val_ap", "val_ap50"


class DetectorModule(TrainedModule):
    """A detector under the sum of its losses; validation is COCO's average precision.

    Args:
        model: a detector of :func:`make_detector`.
        config: the recipe.
        total_steps: of the whole run.
        truth: COCO annotations of the validation images.
        category_ids: COCO's category of every label, label 1 first.
        hardware: how it is executed.
    """

    def __init__(
        self,
        model: nn.Module,
        config: DetectConfig,
        total_steps: int,
        truth: CocoAnnotations,
        category_ids: Sequence[int],
        hardware: Hardware | None = None,
    ) -> None:
        super().__init__(model, config, total_steps, hardware)
        self._truth, self._category_ids = truth, tuple(category_ids)
        self._found: list[CocoResult] = []
        self._frozen = _backbone_norms(model) if config.freeze_norms else []
        for norm in self._frozen:
            norm.requires_grad_(False)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step; keep frozen norms at their statistics, as whatever sets the network to training sets them."""
        super().on_train_batch_start(batch, batch_idx)
        for norm in self._frozen:
            norm.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch: images (3, H, W) and their targets, in two lists."""
        images, targets = batch
        losses: dict[str, Tensor] = self.answer(images, targets)
        return self.note(torch.stack(list(losses.values())).sum(), (images, targets), batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Start collecting."""
        super().on_validation_epoch_start()
        self._found = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect what is found on one batch."""
        images, targets = batch
        for prediction, target in zip(self.answer(images), targets, strict=True):
            self._found += as_coco_results(prediction, int(target["image_id"]), self._category_ids)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's figures, from what all processes found."""
        record = evaluate_results(self._truth, gather_results(self._found))
        # Without an object to find there is no precision to choose by.
        self.log_epoch({AP: record.ap or 0.0, AP50: record.ap50 or 0.0})


def gather_results(found: list[CocoResult]) -> list[CocoResult]:
    """Return what all processes found, image by image; alone, what this one did."""
    shares: list[list[CocoResult] | None] = [found]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        shares = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, found)
    every = [result for share in shares for result in share or ()]
    return sorted(every, key=lambda result: int(result["image_id"]))


def _backbone_norms(model: nn.Module) -> list[nn.Module]:
    """Return the batch norms of a detector's backbone, but for those inside pools, which no trained weights have."""
    backbone = model.get_submodule("backbone")
    pools = [module for module in backbone.modules() if isinstance(module, tuple(POOLS.values()))]
    inside = {id(part) for pool in pools for part in pool.modules()}
    return [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d) and id(m) not in inside]
