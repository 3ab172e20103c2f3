"""What ``fit`` is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sapool.base.budget import Budget
from sapool.base.image_size import InputSize, as_input_size, size_slug
from sapool.base.sizes import format_kib
from sapool.layers import check_pool_name
from sapool.training import TrainConfig


@dataclass(frozen=True)
class FitConfig:
    """What ``fit`` is asked for; budgets in bytes, sizes in pixels a side.

    Attributes:
        model: a name that :func:`sapool.load_model` takes.
        data: a source that ``load_data`` takes.
        input_size: side of the input image, or (C, H, W).
        ram_bytes: budget for the arena (``arena_bytes``), or None.
        flash_bytes: budget for the file, or None.
        pools: poolings to try.
        epochs: passes over the training split.
        batch_size: images a training step.
        learning_rate: its peak.
        seed: of weights, data and order.
        input_sizes: further sides that every pooling is tried at: a smaller image leaves later down-sampling.
        prune: for so many poolings, the best on validation first, a network with later down-sampling is trained too,
            and pruned into the budget. A pooling that no strides make fit is pruned in any case.
        training: a whole recipe, in place of ``epochs``, ``batch_size``, ``learning_rate`` and ``seed``.
        weights: a file of trained weights that every way starts from; a classifier for another number of classes is
            replaced.
        skip_bad: leave damaged images out, and count them.
    """

    model: str = "sapool:tiny"
    data: str = "scattered-digits"
    input_size: InputSize = 64
    ram_bytes: int | None = 64 * 1024
    flash_bytes: int | None = 1024 * 1024
    pools: tuple[str, ...] = ("self_attentive", "avg", "strided")
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    seed: int = 0
    input_sizes: tuple[InputSize, ...] = ()
    prune: int = 0
    training: TrainConfig | None = None
    weights: str | None = None
    skip_bad: bool | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked without loading anything.

        Raises:
            ValueError: a value out of its range, or an unknown or repeated pooling or size.
        """
        for size in (self.input_size, *self.input_sizes):
            as_input_size(size)
        if len(set(self.sizes())) != len(self.input_sizes) + 1:
            said = ", ".join(map(str, self.input_sizes))
            raise ValueError(
                f"input_sizes must name each size once, and not input_size ({self.input_size}), got {said}"
            )
        _ = self.budget
        if not self.pools or len(set(self.pools)) != len(self.pools):
            raise ValueError(f"pools must name at least one pooling, each once, got {', '.join(self.pools) or 'none'}")
        if not 0 <= self.prune <= len(self.pools):
            raise ValueError(f"prune must be 0 to the number of poolings ({len(self.pools)}), got {self.prune}")
        if self.prune and self.ram_bytes is None:
            raise ValueError("prune needs ram_bytes, the budget that is pruned to")
        for pool in self.pools:
            check_pool_name(pool)
        self.recipe()

    @property
    def budget(self) -> Budget:
        """The budgets."""
        return Budget(self.ram_bytes, self.flash_bytes)

    def sizes(self) -> tuple[InputSize, ...]:
        """Return every side that is tried, ``input_size`` first."""
        return (self.input_size, *self.input_sizes)

    def recipe(self) -> TrainConfig:
        """Return the training part."""
        return self.training or TrainConfig(self.epochs, self.batch_size, self.learning_rate, seed=self.seed)

    def default_folder(self) -> Path:
        """Return ``runs/`` + data, model, input size and budget."""
        data, model = (re.sub(r"[^\w.+-]", "-", name.strip("/")) for name in (self.data, self.model))
        return Path("runs") / f"{data}_{model}_{size_slug(self.input_size)}_{format_kib(self.ram_bytes)}"
