"""What a training run is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """AdamW with a one-cycle learning rate (Smith and Topin 2018, arXiv 1708.07120).

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step; a last, smaller batch is left out in training.
        learning_rate: peak of the cycle.
        weight_decay: on weight matrices only, never on norms, biases or position tables.
        label_smoothing: share of the target spread over all classes.
        seed: of initial weights, order of images and everything random in between.
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range.
        """
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 (BatchNorm needs two images), got {self.batch_size}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.weight_decay < 0 or not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"weight_decay must be at least 0 and label_smoothing in [0, 1), got {self.weight_decay} and "
                f"{self.label_smoothing}"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be 0 to 2**31 - 1, got {self.seed}")
