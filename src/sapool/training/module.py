"""What every trained network shares: one step's safety, the epoch's mean loss, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sapool.training.config import Hardware, TrainConfig
from sapool.training.divergence import DivergedError, where_it_broke
from sapool.training.optimizers import build_optimizer, build_schedule


class TrainedModule(lightning.LightningModule):
    """A network under a recipe's optimiser and schedule; what its loss is, a subclass says.

    Args:
        model: the network.
        config: the recipe.
        total_steps: of the whole run.
        hardware: compiled or not, and which memory format.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig, total_steps: int, hardware: Hardware | None = None
    ) -> None:
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self.hardware = hardware or Hardware()
        self._loss_sum, self._steps = torch.zeros(()), 0
        self._last: tuple[Tensor, tuple[Any, ...], int] | None = None
        # A function, not a Module: the state must not hold the network twice.
        self._compiled: Callable[..., Any] | None = torch.compile(model.forward) if self.hardware.compile else None

    def answer(self, *inputs: Any) -> Any:
        """Return what the network says, compiled where that was asked for."""
        return self.model(*inputs) if self._compiled is None else self._compiled(*inputs)

    @property
    def memory_format(self) -> torch.memory_format:
        """How maps are stored."""
        return torch.channels_last if self.hardware.channels_last else torch.contiguous_format

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make whatever is random in a step depend on seed, step and process alone, so that a restart repeats it."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step + (self.global_rank << 50))

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._loss_sum, self._steps = torch.zeros((), device=self.device), 0

    def note(self, loss: Tensor, inputs: tuple[Any, ...], batch_idx: int) -> Tensor:
        """Return a step's loss, after counting it in and keeping what led to it, should it turn out to be no number."""
        self._last = (loss.detach(), inputs, batch_idx)
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
        loss, inputs, batch_idx = self._last
        # Half precision scales the loss until the gradient overflows, and then leaves that step out.
        judged = loss if self.hardware.precision == "16-mixed" else loss + norm.to(loss.device)
        if torch.isfinite(judged):
            return
        what = f"loss became {loss.item()}" if not torch.isfinite(loss) else f"gradient's norm became {norm.item()}"
        kept = (
            "the last good checkpoint is kept" if self.current_epoch else "no epoch was finished, no checkpoint is kept"
        )
        raise DivergedError(
            f"the {what} in epoch {self.current_epoch + 1}, step {batch_idx + 1}: lower learning_rate (now "
            f"{self.config.learning_rate}); {kept}; {where_it_broke(self.model, *inputs)}"
        )

    def on_validation_epoch_start(self) -> None:
        """Judge on every process with the statistics that the first one will save."""
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def log_epoch(self, figures: dict[str, float]) -> None:
        """Log validation's figures with the mean of all processes' losses and the rate reached."""
        loss = self.trainer.strategy.reduce(self._loss_sum / max(1, self._steps), reduce_op="mean")
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict({**figures, "train_loss": loss, "learning_rate": rate})

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimiser and schedule, which moves on after every step."""
        optimizer = build_optimizer(self.model, self.config, fused=self.hardware.precision != "16-mixed")
        schedule = build_schedule(optimizer, self.config, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
