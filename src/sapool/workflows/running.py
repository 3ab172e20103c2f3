"""One planned network, from its first weights to a measured int8 model in a folder; what is there is not done again."""

from __future__ import annotations

import copy
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from sapool.base.budget import Budget
from sapool.base.files import write_text_atomically
from sapool.base.reading import parse_record
from sapool.base.records import ArenaRecord, PoolingPlan, Reporter, RunRecord, TrainRecord, record_to_json
from sapool.export import (
    build_beside,
    check_parity,
    export_int8,
    measure_arena,
    measure_latency,
    model_header,
    randomize_norms,
    run_images,
)
from sapool.firmware.extras import Pixels
from sapool.training import DataSplits, Hardware, TrainConfig, gather, load_weights, save_weights, train
from sapool.workflows.folder import HEADER, MODEL, RECORD, RUN, TRAINING, WEIGHTS, RunFolder

C_FOLDER = "firmware"  # the network as C files, beside model.tflite
PARITY_IMAGES = 16
# Measured over whole trained networks: 0 steps. One is left to FULLY_CONNECTED, which the two round differently.
PARITY_LIMIT_STEPS = 1
_IMAGES_AT_ONCE = 1000

Images = Dataset[tuple[Tensor, int]]
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What one run is: a plan, the recipe it is trained by and the budgets it is held against.

    Attributes:
        name: what messages call the run.
        plan: the plan that is in the network.
        recipe: how it is trained.
        budget: for the arena and the file.
        config: the whole configuration, kept in the record.
        environment: versions, device, commit.
        pool: the pooling.
        tried: plans that were measured before this one: strides and arena in bytes.
        int8_images: how many images of validation and of test the int8 model classifies, evenly spaced; None: all.
        hardware: what training runs on, or None for what there is.
    """

    name: str
    plan: PoolingPlan
    recipe: TrainConfig
    budget: Budget
    config: dict[str, Any]
    environment: dict[str, str]
    pool: str
    tried: tuple[dict[str, Any], ...] = ()
    int8_images: int | None = None
    hardware: Hardware | None = None


def run_planned(task: Task, model: nn.Module, data: DataSplits, folder: Path, reporter: Reporter) -> RunRecord:
    """Train, quantise and measure a planned network, and write its record.

    A run that was cut off goes on: behind its last finished epoch, or behind its training.

    Args:
        task: what to do.
        model: the network with the plan in it and its first weights; changed in place.
        data: the splits.
        folder: gets ``weights.safetensors``, ``training.json``, ``model.tflite``, ``model.h`` and, last of all,
            ``record.json``.
        reporter: is told the stages and progress.

    Raises:
        DivergedError: the loss is no longer finite.
        ExportError: the network can't be exported.
        InterpreterError: an interpreter refuses the file.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    trained = train_once(task, model, data, folder, reporter)
    deployed = _deploy(task, model, data, folder, reporter)
    reporter.stage(
        f"{task.name}: test accuracy {trained.test_accuracy:.1%} float, {deployed['int8_test_accuracy']:.1%} int8; "
        f"arena {deployed['arena'].arena_bytes:,} bytes; TFLM within {deployed['parity_steps']} int8 step(s) of LiteRT"
    )
    measured = {
        "float_val_accuracy": trained.val_accuracy,
        "float_test_accuracy": trained.test_accuracy,
        "best_epoch": trained.best_epoch,
        "train_seconds": trained.train_seconds,
        **deployed,
    }
    return write_record(task, model, measured, folder)


def write_record(task: Task, model: nn.Module, measured: dict[str, Any], folder: Path) -> RunRecord:
    """Write and return a run's record; ``measured`` holds its arena, whether it fits and whatever else is known."""
    arena: ArenaRecord = measured["arena"]
    record = RunRecord(
        pool=task.pool,
        strides=task.plan.strides,
        plan=task.plan,
        head_bytes=arena.head_bytes,
        tail_bytes=arena.tail_bytes,
        total_bytes=arena.total_bytes,
        flash_bytes=arena.flash_bytes,
        parameters=sum(p.numel() for p in model.parameters()),
        tried=task.tried,
        config=task.config,
        environment=task.environment,
        **measured,
    )
    RunFolder(folder, RUN).finish(record_to_json(record))
    return record


def sizes_of(arena: ArenaRecord) -> dict[str, int]:
    """Return what a list of tried plans says of one's arena and file."""
    names = ("total_bytes", "arena_bytes", "flash_bytes")
    return {name: getattr(arena, name) for name in names}


def finished_record(folder: Path, *, files: bool = True) -> RunRecord | None:
    """Return the record of a run that is finished and, with ``files``, whose promised files are all there, else None.

    Raises:
        ValueError: the record is damaged; the message names it.
    """
    place = RunFolder(folder, RUN)
    if not place.is_whole():
        return None
    record = read_held(place.file(RECORD), RunRecord.from_json)
    promised = files and record.export is not None
    return record if not promised or place.has({MODEL: record.flash_bytes, HEADER: None}) else None


def read_held(path: Path, parse: Callable[[str], T]) -> T:
    """Read a file of an earlier call.

    Raises:
        ValueError: it is damaged; the message names it.
    """
    try:
        return parse(path.read_text())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it and say the same command again") from None


def measure_untrained(model: nn.Module, data: DataSplits) -> ArenaRecord:
    """Return the arena that a planned network needs, before it is trained; the network is left as it is.

    Raises:
        ExportError: the network can't be exported.
        InterpreterError: TensorFlow Lite Micro refuses the file.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "candidate.tflite"
        export_int8(randomize_norms(copy.deepcopy(model)), data.calibration(4), path)
        return measure_arena(path)


def data_options(recipe: TrainConfig) -> dict[str, Any]:
    """Return what a recipe asks of the data: augmentation and normalisation, as keywords of ``load_data``."""
    return {"augment": recipe.augment, "mean": recipe.mean, "std": recipe.std}


def describe_processor() -> str:
    """Return the name of the processor that times are measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def train_once(task: Task, model: nn.Module, data: DataSplits, folder: Path, reporter: Reporter) -> TrainRecord:
    """Train ``model``, or load what an earlier call trained; it ends in eval mode.

    The folder gets ``weights.safetensors`` and, when they are complete, ``training.json``.
    """
    done, weights = folder / TRAINING, folder / WEIGHTS
    if done.is_file() and weights.is_file():
        load_weights(model, weights)
        model.eval()
        return read_held(done, lambda text: parse_record(TrainRecord, text))
    reporter.stage(f"{task.name}: training {task.recipe.epochs} epochs of {data.images_per_epoch:,} images")
    name = f"training {task.name}"
    outcome = train(model, data, task.recipe, folder, reporter=reporter, name=name, hardware=task.hardware)
    # Weights first: training.json says that they are complete.
    save_weights(model, weights)
    write_text_atomically(done, record_to_json(outcome))
    return outcome


def _deploy(task: Task, model: nn.Module, data: DataSplits, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Export, measure, compare the two interpreters, and classify validation and test in int8."""
    path = folder / MODEL
    reporter.stage(f"{task.name}: quantising to int8 and measuring on TensorFlow Lite Micro")
    with tempfile.TemporaryDirectory() as scratch:
        flat = Path(scratch) / "flat.tflite"
        export = export_int8(model, data.calibration(), path, flat_path=flat)
        _write_c(task, flat, folder / C_FOLDER, data.classes, reporter)
    arena = measure_arena(path)
    recipe = task.recipe
    header = model_header(path, arena, mean=recipe.mean, std=recipe.std, classes=data.classes)
    write_text_atomically(path.with_suffix(".h"), header)
    parity = check_parity(path, gather(data.test, PARITY_IMAGES)[0])
    if parity.max_steps > PARITY_LIMIT_STEPS:
        reporter.stage(
            f"{task.name}: TFLM differs from LiteRT by {parity.max_steps} int8 steps, over the limit of "
            f"{PARITY_LIMIT_STEPS}: counted as not fitting"
        )
    return {
        "fits": parity.max_steps <= PARITY_LIMIT_STEPS and task.budget.fits(arena),
        "arena": arena,
        "export": export,
        "macs": export.macs,
        "int8_val_accuracy": int8_accuracy(path, data.val, task.int8_images),
        "int8_test_accuracy": int8_accuracy(path, data.test, task.int8_images),
        "parity_steps": parity.max_steps,
        "parity_images": parity.images,
        "latency_ms": measure_latency(path),
        "latency_device": describe_processor(),
    }


def _write_c(task: Task, flat: Path, folder: Path, classes: Sequence[str], reporter: Reporter) -> None:
    """Write the C files beside the model, where the C engine has all of its operators."""
    recipe = task.recipe
    scaled = recipe.mean is not None and recipe.std is not None
    pixels = Pixels(tuple(recipe.mean or ()), tuple(recipe.std or ())) if scaled else None
    made = build_beside(flat, folder, labels=classes, pixels=pixels)
    if isinstance(made, str):
        reporter.stage(f"{task.name}: no C files: {made}")


def int8_accuracy(path: Path, images: Images, most: int | None = None) -> float:
    """Return the share of a split that a ``.tflite`` classifies rightly, run by LiteRT's reference kernels.

    Args:
        path: the file.
        images: items (image, class).
        most: take so many, evenly spaced (a split is often sorted by class), or None for all.
    """
    total = len(images)  # type: ignore[arg-type]
    count = total if most is None else min(most, total)
    chosen = [place * total // count for place in range(count)]
    right = 0
    for start in range(0, count, _IMAGES_AT_ONCE):
        inputs, labels = gather(Subset(images, chosen[start : start + _IMAGES_AT_ONCE]))
        right += int((torch.from_numpy(run_images(path, inputs)).argmax(1) == labels).sum())
    return right / count
