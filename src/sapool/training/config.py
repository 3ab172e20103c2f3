"""What a training run is told: the recipe, which determines the result, and the hardware, which does not."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

from sapool.base.ranges import MOST_EPOCHS, check_range
from sapool.base.suggest import suggest

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("one_cycle", "cosine", "step", "constant")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")
_MOST_BATCH, _MOST_WORKERS = 65_536, 256


@dataclass(frozen=True)
class TrainConfig:
    """A recipe. The defaults are AdamW with a one-cycle learning rate (Smith and Topin 2018, arXiv 1708.07120).

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step, over all processes; the last step of an epoch takes what is left, half to one and a
            half times as many.
        learning_rate: its peak.
        weight_decay: on weight matrices only, never on norms, biases or position tables (but see ``decay_norms``).
        label_smoothing: share of the target spread over all classes.
        seed: of initial weights, order of images and everything random in between.
        optimizer: one of :data:`OPTIMIZERS`.
        momentum: of ``sgd``.
        nesterov: of ``sgd``.
        schedule: one of :data:`SCHEDULES`; ``cosine`` falls to zero, ``step`` by ``step_factor`` at ``milestones``.
        warmup_epochs: linear rise to the peak first; ``one_cycle`` has a rise of its own.
        milestones: where ``step`` falls, as fractions of the epochs.
        step_factor: what the rate is multiplied with there.
        clip: largest norm of the gradient; 0: not clipped.
        ema_decay: of the moving average of the weights that is validated and kept; 0: none. It starts short and grows
            to this length, min(decay, (1 + step) / (10 + step)).
        augment: names of what is done to every training image, handed to ``load_data``.
        mixup_alpha: mix pairs of a batch's images (Zhang et al. 2018, arXiv 1710.09412); 0: not.
        cutmix_alpha: paste a box of one into the other (Yun et al. 2019, arXiv 1905.04899); 0: not. With both, every
            batch gets one of the two by chance.
        mean: subtracted from every channel, handed to ``load_data``; None: images stay in [0, 1].
        std: divided by, after that.
        patience: epochs without a better validation accuracy after which training stops; 0: never.
        distill_weight: share of the loss that compares with the teacher, where there is one.
        distill_temperature: softens both sides of that comparison (Hinton et al. 2015, arXiv 1503.02531).
        decay_norms: let ``weight_decay`` act on every parameter.
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    seed: int = 0
    optimizer: str = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "one_cycle"
    warmup_epochs: float = 0.0
    milestones: tuple[float, ...] = ()
    step_factor: float = 0.1
    clip: float = 1.0
    ema_decay: float = 0.0
    augment: tuple[str, ...] = ()
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    patience: int = 0
    distill_weight: float = 0.5
    distill_temperature: float = 4.0
    decay_norms: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range.
        """
        check_range("epochs", self.epochs, 1, MOST_EPOCHS)
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 (BatchNorm needs two images), got {self.batch_size}")
        check_range("batch_size", self.batch_size, 2, _MOST_BATCH)
        check_range("patience", self.patience, 0, MOST_EPOCHS)
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be 0 to 2**31 - 1, got {self.seed}")
        self._check_positive("learning_rate", "step_factor", "distill_temperature")
        self._check_not_negative("weight_decay", "warmup_epochs", "clip", "mixup_alpha", "cutmix_alpha")
        self._check_share("label_smoothing", "momentum", "ema_decay")
        if not 0 <= self.distill_weight <= 1:
            raise ValueError(f"distill_weight must be in [0, 1], got {self.distill_weight}")
        self._check_schedule()
        self._check_normalisation()

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def _check_not_negative(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    def _check_share(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")

    def _check_schedule(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got 0")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: {suggest(self.optimizer, OPTIMIZERS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}: {suggest(self.schedule, SCHEDULES)}")
        if self.schedule == "one_cycle" and self.warmup_epochs:
            raise ValueError(f"warmup_epochs must be 0 with one_cycle, which warms up itself, got {self.warmup_epochs}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be under epochs ({self.epochs}), got {self.warmup_epochs}")
        rising = list(self.milestones) == sorted(set(self.milestones))
        if not rising or not all(0 < milestone < 1 for milestone in self.milestones):
            raise ValueError(f"milestones must be rising fractions between 0 and 1, got {self.milestones}")
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError(f"milestones belong to the schedule 'step', got {self.milestones} with {self.schedule!r}")

    def _check_normalisation(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean and std go together, got {self.mean} and {self.std}")
        if self.mean is not None and self.std is not None:
            whole = len(self.mean) == len(self.std) == 3
            if not whole or not all(math.isfinite(value) for value in self.mean) or not all(s > 0 for s in self.std):
                raise ValueError(f"mean and std must be three numbers each, std positive, got {self.mean}, {self.std}")


@dataclass(frozen=True)
class Hardware:
    """How a run is executed; apart from rounding, nothing here changes its result.

    Attributes:
        workers: processes that load images, beside the one that trains; 0: none.
        precision: one of :data:`PRECISIONS`; mixed ones need an accelerator to be faster.
        compile: let ``torch.compile`` fuse the network; pays off in long runs.
        channels_last: store maps as (N, H, W, C); about 1.4 times as fast for small networks on a CPU.
        accelerator: one of :data:`ACCELERATORS`.
        devices: processes on this machine; more than one are started by ``torchrun``, which sets it.
        num_nodes: machines; the same.
        tensorboard: write TensorBoard's event files beside the CSV log.
    """

    workers: int = 0
    precision: str = "32"
    compile: bool = False
    channels_last: bool = True
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range, or several processes without their launcher.
        """
        check_range("workers", self.workers, 0, _MOST_WORKERS)
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: {suggest(self.precision, PRECISIONS)}")
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f"unknown accelerator {self.accelerator!r}: {suggest(self.accelerator, ACCELERATORS)}")
        if self.devices < 1 or self.num_nodes < 1:
            raise ValueError(f"devices and num_nodes must be at least 1, got {self.devices} and {self.num_nodes}")
        launched = processes()
        if self.devices * self.num_nodes not in (1, launched.world_size):
            raise ValueError(
                f"{self.devices} device(s) on {self.num_nodes} node(s) need as many processes, {launched.world_size} "
                f"is running: start with torchrun --nnodes {self.num_nodes} --nproc-per-node {self.devices}"
            )


class Processes(NamedTuple):
    """Which of how many processes this is; ``local_size`` of them are on this machine."""

    rank: int = 0
    world_size: int = 1
    local_size: int = 1


def processes() -> Processes:
    """Return what ``torchrun`` says in the environment; without it, one process alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Processes()
    return Processes(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))
