"""What a detector's training is told: the classifier's recipe, and what only detectors have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sapool.base.image_size import MOST_PIXELS
from sapool.base.ranges import check_range
from sapool.base.suggest import suggest
from sapool.detection.augment import BOX_AUGMENTATIONS
from sapool.detection.models import DETECTORS
from sapool.training import TrainConfig
from sapool.training.recipe import RecipeBook

# What a recipe for classifiers may say and a detector has no use for.
_MOST_LEVELS = 16
_MEANINGLESS = ("label_smoothing", "mixup_alpha", "cutmix_alpha")


@dataclass(frozen=True)
class DetectConfig(TrainConfig):
    """A detector's recipe; the defaults train the small one. What isn't listed is as in :class:`TrainConfig`.

    Attributes:
        detector: one of :data:`DETECTORS`.
        input_size: what images are resized to, in pixels: the side of a square (``ssdlite``, ``small``), or the shorter
            side, the shape being kept.
        longest_side: limit of the longer side, for ``fasterrcnn`` and ``retinanet``; 0: the same as ``input_size``.
        levels: how many of the backbone's coarsest maps are read; 0: the kind's own number.
        classes: names of a COCO folder's classes to keep, label 1 first; none: all.
        augment: names of :data:`BOX_AUGMENTATIONS`.
        mean: of the images' channels, which the detector subtracts; None: the kind's own.
        std: the same.
        warmup_steps: linear rise of the learning rate over so many steps, in place of ``warmup_epochs``.
        freeze_norms: leave the backbone's batch norms as they are, but for those of its pools; for trained backbones.
    """

    epochs: int = 12
    batch_size: int = 16
    clip: float = 5.0
    detector: str = "small"
    input_size: int = 128
    longest_side: int = 0
    levels: int = 0
    classes: tuple[str, ...] = ()
    warmup_steps: int = 0
    freeze_norms: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range, an unknown name, or what only a classifier's recipe can say.
        """
        super().__post_init__()
        if self.detector not in DETECTORS:
            raise ValueError(f"unknown detector {self.detector!r}: {suggest(self.detector, list(DETECTORS))}")
        for name in self.augment:
            if name not in BOX_AUGMENTATIONS:
                raise ValueError(f"unknown augmentation {name!r}: {suggest(name, list(BOX_AUGMENTATIONS))}")
        check_range("input_size", self.input_size, 1, MOST_PIXELS)
        check_range("longest_side", self.longest_side, 0, 2 * MOST_PIXELS)
        check_range("levels", self.levels, 0, _MOST_LEVELS)
        if self.longest_side and self.longest_side < self.input_size:
            raise ValueError(f"longest_side must be at least input_size ({self.input_size}), got {self.longest_side}")
        self._check_not_negative("warmup_steps")
        if self.warmup_steps and (self.schedule == "one_cycle" or self.warmup_epochs):
            raise ValueError(f"warmup_steps ({self.warmup_steps}) excludes warmup_epochs and the schedule 'one_cycle'")
        for name in _MEANINGLESS:
            if getattr(self, name):
                raise ValueError(f"{name} is for classifiers, a detector's recipe can't have it: leave it out")

    @property
    def image_size(self) -> tuple[int, int]:
        """(shorter, longer side), or (height, width), in pixels."""
        return self.input_size, self.longest_side or self.input_size

    def detector_options(self) -> dict[str, Any]:
        """Return what :func:`make_detector` is told besides kind, backbone, classes, image size and plan."""
        options: dict[str, Any] = {"levels": self.levels or None}
        if self.mean is not None and self.std is not None:
            options |= {"image_mean": list(self.mean), "image_std": list(self.std)}
        return options

    def with_warmup(self, steps_per_epoch: int) -> DetectConfig:
        """Return the recipe with its warm-up in epochs; one that is longer than the run ends with it.

        Args:
            steps_per_epoch: of the run.
        """
        if not self.warmup_steps:
            return self
        # Short of the whole: the schedule behind it must not be empty.
        share = min(self.warmup_steps / steps_per_epoch, self.epochs - 1e-6)
        return replace(self, warmup_epochs=share, warmup_steps=0)


_BOOK = RecipeBook(Path(__file__).parent / "recipes", DetectConfig)
DETECTION_RECIPES = _BOOK.recipes


def read_detection_recipe(name_or_path: str | Path, **overrides: Any) -> DetectConfig:
    """Read a detector's recipe.

    Args:
        name_or_path: one of :data:`DETECTION_RECIPES`, or a YAML file of :class:`DetectConfig`'s fields.
        overrides: fields that replace the file's; ``None`` leaves the file's. With another ``input_size`` alone,
            ``longest_side`` keeps its proportion to it.

    Raises:
        ValueError: as :func:`sapool.training.read_recipe`.
    """
    size = overrides.pop("input_size", None)
    if size is None or overrides.get("longest_side") is not None:
        return _BOOK.read(name_or_path, **overrides, input_size=size)
    config = _BOOK.read(name_or_path, **overrides)
    longest = round(config.longest_side * size / config.input_size)
    return _BOOK.read(name_or_path, **overrides, input_size=size, longest_side=longest)
