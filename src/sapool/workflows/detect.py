"""A detector from its names to a folder of results: built, trained, evaluated, its backbone's arena measured."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool.base.environment import describe_environment
from sapool.base.reading import read_json
from sapool.base.records import ArenaRecord, PoolingPlan, Reporter, SilentReporter
from sapool.detection import (
    BoxSplits,
    DetectConfig,
    DetectorRecord,
    export_backbone,
    load_boxes,
    make_detector,
    plan_backbone,
    train_detector,
    write_results,
)
from sapool.export import ExportError, InterpreterError, randomize_norms
from sapool.networks.load import load_model
from sapool.planning.plan import Stride
from sapool.training import Hardware, load_weights, processes, save_weights
from sapool.workflows.folder import DETECT, RECORD, WEIGHTS, RunFolder

BACKBONE, RESULTS = "backbone.tflite", "results-test.json"


@dataclass(frozen=True)
class DetectRequest:
    """What determines the result of one ``sapool detect train``: what its folder's ``config.json`` holds.

    Attributes:
        model: the backbone's name.
        data: ``scattered-digits`` or a COCO folder.
        plan: of the backbone; None leaves its down-sampling as it is.
        recipe: how it is trained, and which detector.
        skip_bad: leave out and count what breaks the data's rules.
        train_images: use only so many.
        pretrained: start the backbone from its library's weights.
    """

    model: str
    data: str
    plan: PoolingPlan | None
    recipe: DetectConfig
    skip_bad: bool = False
    train_images: int | None = None
    pretrained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DetectRequest:
        """Build one from what JSON made of it."""
        recipe: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data["recipe"].items()}
        plan = None if data["plan"] is None else PoolingPlan.from_json(json.dumps(data["plan"]))
        return cls(**{**data, "recipe": DetectConfig(**recipe), "plan": plan})

    def default_folder(self, recipe_name: str) -> Path:
        """Return ``runs/`` + data, detector, backbone, pooling, size and recipe."""
        pools = sorted({site.pool for site in self.plan.sites}) if self.plan is not None else ["as-is"]
        size = f"{self.recipe.input_size}px"
        parts = (self.data, self.recipe.detector, self.model, "+".join(pools), size, Path(recipe_name).stem)
        return Path("runs") / "_".join(part.strip("/").replace(":", "-").replace("/", "-") for part in parts)

    def splits(self) -> BoxSplits:
        """Load the data as the recipe wants it."""
        recipe = self.recipe
        return load_boxes(
            self.data,
            recipe.input_size,
            epochs=recipe.epochs,
            seed=recipe.seed,
            augment=recipe.augment,
            classes=recipe.classes or None,
            skip_bad=self.skip_bad,
            train_images=self.train_images,
        )

    def detector(self, num_classes: int) -> nn.Module:
        """Build the detector, its first weights by the recipe's seed."""
        torch.manual_seed(self.recipe.seed)
        # The classifier is cut off; trained ones have ImageNet's classes.
        backbone = load_model(self.model, 1000 if self.pretrained else num_classes, pretrained=self.pretrained)
        return make_detector(
            self.recipe.detector,
            backbone,
            num_classes,
            image_size=self.recipe.image_size,
            plan=self.plan,
            **self.recipe.detector_options(),
        )


def plan_detector(
    model: str, recipe: DetectConfig, pool: str, strides: Sequence[Stride] | None = None, **pool_kwargs: Any
) -> PoolingPlan:
    """Plan a backbone by name for a recipe's image size; see :func:`sapool.detection.plan_backbone`."""
    backbone = load_model(model, 10)  # a classifier's outputs are cut off again
    return plan_backbone(backbone, (3, *recipe.image_size), pool, strides, **pool_kwargs)


@dataclass(frozen=True)
class DetectorRun:
    """A finished detector's folder.

    Attributes:
        folder: where it lies.
        request: what it was told.
        classes: names, label 1 first.
        record: all that is known of it.
    """

    folder: Path
    request: DetectRequest
    classes: tuple[str, ...]
    record: dict[str, Any]

    @property
    def ap(self) -> float:
        """AP on test."""
        return float(self.record["result"]["test"]["ap"] or 0.0)

    @property
    def ap50(self) -> float:
        """AP50 on test."""
        return float(self.record["result"]["test"]["ap50"] or 0.0)

    @property
    def arena(self) -> ArenaRecord | None:
        """The backbone's arena as measured, or None where it can't be exported."""
        held = self.record["backbone"]["arena"]
        return None if held is None else ArenaRecord.from_dict(held)

    def detector(self) -> nn.Module:
        """Return the trained detector, in eval mode."""
        model = replace(self.request, pretrained=False).detector(len(self.classes))
        load_weights(model, self.folder / WEIGHTS)
        return model.eval()


def read_detector(folder: str | Path) -> DetectorRun:
    """Read a finished detector's folder.

    Raises:
        ValueError: there is no finished run of ``sapool detect train`` in it.
    """
    folder = Path(folder)
    path = folder / RECORD
    if not RunFolder(folder, DETECT).is_whole():
        raise ValueError(f"{folder} holds no finished detector: {RECORD} and {WEIGHTS} are not both there")
    try:
        record = read_json(path)
        request = DetectRequest.from_dict(record["config"])
        return DetectorRun(folder, request, tuple(record["data"]["classes"]), record)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of sapool detect train ({type(error).__name__}: {error})") from None


def run_detector(
    request: DetectRequest,
    folder: str | Path,
    *,
    hardware: Hardware | None = None,
    reporter: Reporter | None = None,
    name: str = "training",
    measure: bool = True,
) -> DetectorRun:
    """Train a detector into a folder, or read back what is finished there.

    Args:
        request: what to train.
        folder: gets ``weights.safetensors``, ``results-test.json`` (COCO's format), ``backbone.tflite``, ``logs/``,
            ``checkpoints/`` and, last of all, ``record.json``.
        hardware: how it is executed.
        reporter: is told stages and progress.
        name: stands beside the progress bar.
        measure: export the backbone and measure its arena, which takes up to a minute.

    Raises:
        ValueError: bad data, a folder of another configuration, a diverged loss.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    folder, hardware, first = Path(folder), hardware or Hardware(), processes().rank == 0
    reporter = (reporter if first else None) or SilentReporter()
    data = request.splits()
    model = request.detector(data.num_classes)
    place = RunFolder(folder, DETECT)
    with place.claimed(request.to_dict()) if first else nullcontext():
        if place.is_whole():
            reporter.stage(f"finished before, read from {folder / RECORD}")
            return read_detector(folder)
        _announce(request, model, data, reporter)
        outcome, found = train_detector(
            model, data, request.recipe, folder, reporter=reporter, name=name, hardware=hardware
        )
        record = _record(request, model, data, outcome, hardware)
        if first:
            save_weights(model, folder / WEIGHTS)
            write_results(found, folder / RESULTS)
            if measure:
                record["backbone"] = _measure(model, data, request.recipe.image_size, folder / BACKBONE, reporter)
            place.finish(json.dumps(record, indent=2))
    return DetectorRun(folder, request, data.classes, record)


def _announce(request: DetectRequest, model: nn.Module, data: BoxSplits, reporter: Reporter) -> None:
    parameters = sum(p.numel() for p in model.parameters())
    backbone: Any = model.get_submodule("backbone")
    strides = ", ".join(str(stride) for stride in backbone.strides)
    left_out = sum(sum(counts.values()) for counts in data.skipped.values())
    skipped = f", {left_out:,} bad entries left out" if left_out else ""
    reporter.stage(
        f"{request.recipe.detector} on {request.model}: {parameters:,} parameters, maps of stride {strides}; "
        f"{data.name}: {data.images_per_epoch:,} training images, {data.num_classes} classes{skipped}; "
        f"{request.recipe.epochs} epochs"
    )


def _record(
    request: DetectRequest, model: nn.Module, data: BoxSplits, outcome: DetectorRecord, hardware: Hardware
) -> dict[str, Any]:
    return {
        "config": request.to_dict(),
        "result": asdict(outcome),
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": {
            "train": data.images_per_epoch,
            "val": len(data.val),
            "test": len(data.test),
            "classes": list(data.classes),
            "skipped": data.skipped,
        },
        "backbone": {"arena": None, "reason": None},
        "hardware": asdict(hardware) | {"processes": processes().world_size},
        "environment": describe_environment(),
    }


def _measure(model: nn.Module, data: BoxSplits, size: tuple[int, int], path: Path, told: Reporter) -> dict[str, Any]:
    """Return the backbone's arena, or the reason why it is not known."""
    told.stage("quantising the backbone to int8 and measuring it on TensorFlow Lite Micro")
    try:
        return {"arena": asdict(export_backbone(model, data.calibration(size), path)), "reason": None}
    except (ExportError, InterpreterError) as error:
        told.stage(f"the backbone's arena is not known: {error}")
        return {"arena": None, "reason": str(error)}


def measure_untrained(request: DetectRequest, data: BoxSplits) -> ArenaRecord:
    """Return the arena that a request's backbone needs, before it is trained.

    Raises:
        ExportError: the backbone can't be exported.
        InterpreterError: TensorFlow Lite Micro refuses the file.
    """
    model = randomize_norms(request.detector(data.num_classes))
    with tempfile.TemporaryDirectory() as temporary:
        return export_backbone(model, data.calibration(request.recipe.image_size, 4), Path(temporary) / BACKBONE)
