"""The whole way: a network, data and a RAM budget in; an int8 model proven to fit out."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from sapool.environment import describe_environment
from sapool.export import check_parity, export_int8, measure_arena, model_header, randomize_norms, run_images
from sapool.layers import check_pool_name
from sapool.models import load_model
from sapool.plan import supported_sites
from sapool.records import (
    ArenaRecord,
    PoolingPlan,
    Reporter,
    RunRecord,
    SilentReporter,
    TrainRecord,
    record_to_json,
    write_text_atomically,
)
from sapool.search import Candidate, closest, first_fitting_plan, replan
from sapool.training import DataSplits, TrainConfig, gather, load_data, load_weights, save_weights, train

PARITY_IMAGES = 16
# Measured over whole trained networks: 0 steps. One is left to FULLY_CONNECTED, which the two round differently.
PARITY_LIMIT_STEPS = 1


class FolderConflictError(ValueError):
    """The output folder holds results of another configuration."""


@dataclass(frozen=True)
class FitConfig:
    """What ``fit`` is asked for; budgets in bytes, ``input_size`` in pixels a side."""

    model: str = "sapool:tiny"
    data: str = "scattered-digits"
    input_size: int = 64
    ram_bytes: int = 64 * 1024
    flash_bytes: int | None = 1024 * 1024
    pools: tuple[str, ...] = ("self_attentive", "avg", "strided")
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check everything that can be checked without loading anything.

        Raises:
            ValueError: a value out of its range, or an unknown or repeated pooling.
        """
        if self.input_size < 1:
            raise ValueError(f"input_size must be at least 1, got {self.input_size}")
        if self.ram_bytes < 1 or (self.flash_bytes is not None and self.flash_bytes < 1):
            raise ValueError(f"budgets must be at least 1 byte, got {self.ram_bytes} and {self.flash_bytes}")
        if not self.pools or len(set(self.pools)) != len(self.pools):
            raise ValueError(f"pools must name at least one pooling, each once, got {', '.join(self.pools) or 'none'}")
        for pool in self.pools:
            check_pool_name(pool)
        self.recipe()

    def recipe(self) -> TrainConfig:
        """Return the training part."""
        return TrainConfig(self.epochs, self.batch_size, self.learning_rate, seed=self.seed)

    def default_folder(self) -> Path:
        """Return ``runs/`` + data, model, input size and budget."""
        model = self.model.replace(":", "-").replace("/", "-")
        return Path("runs") / f"{self.data}_{model}_{self.input_size}px_{format_kib(self.ram_bytes)}"


@dataclass(frozen=True)
class FitSummary:
    """Outcome of a ``fit``: the runs, which pooling is best among those that fit, and which is closest if none does.

    ``best`` is chosen by int8 accuracy on validation, never on test; ties go to the smaller arena.
    """

    config: dict[str, Any]
    environment: dict[str, str]
    folder: str
    best: str | None
    closest: str | None
    runs: tuple[RunRecord, ...]


def format_kib(count: int) -> str:
    """Return bytes as text: ``96KiB``, or ``1000B`` where KiB would not be whole."""
    return f"{count // 1024}KiB" if count % 1024 == 0 else f"{count}B"


def fit(config: FitConfig, out: str | Path | None = None, reporter: Reporter | None = None) -> FitSummary:
    """Plan, train, export and measure every pooling of ``config`` under its budgets.

    Finished runs in ``out`` are read, an interrupted one goes on where it stopped.

    Args:
        config: what to do.
        out: folder of the results; by default one under ``runs/`` named after data, model and budget.
        reporter: is told the stages and progress.

    Returns:
        The summary, also written to ``out/summary.json``.

    Raises:
        ValueError: a user's mistake: unknown names, a size the model or data can't have, a folder of another
            configuration.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    reporter = reporter or SilentReporter()
    folder = Path(out) if out is not None else config.default_folder()
    data = load_data(config.data, config.input_size, epochs=config.epochs, seed=config.seed)
    model = _fresh_model(config, data)
    supported_sites(model, config.input_size)
    # Only now, when model and data are known to work together, is anything written.
    claim_folder(folder, config)
    parameters = sum(p.numel() for p in model.parameters())
    reporter.stage(f"model {config.model}: {parameters:,} parameters; data {config.data} at {config.input_size} px")
    work = _Work(config, folder, data, reporter, describe_environment())
    candidates = {pool: work.plan(model, pool) for pool in config.pools}
    runs = tuple(work.run(pool, candidates[pool]) for pool in config.pools)
    summary = FitSummary(asdict(config), work.environment, str(folder), _best(runs), _closest(runs, config), runs)
    write_text_atomically(folder / "summary.json", record_to_json(summary))
    return summary


def _fresh_model(config: FitConfig, data: DataSplits) -> nn.Module:
    """Return the network with the initial weights that the seed gives, the same for every pooling."""
    torch.manual_seed(config.seed)
    return load_model(config.model, data.num_classes)


def claim_folder(folder: Path, config: FitConfig) -> None:
    """Write the configuration into an empty folder, or check that it is the one there.

    Raises:
        FolderConflictError: the folder holds another configuration, or files of another program.
    """
    path = folder / "config.json"
    wanted = json.loads(json.dumps(asdict(config)))
    if path.is_file():
        try:
            held = json.loads(path.read_text())
        except json.JSONDecodeError:
            raise FolderConflictError(f"{path} is not JSON; choose another --out") from None
        different = [key for key in wanted if not isinstance(held, dict) or held.get(key) != wanted[key]]
        if different:
            key = different[0]
            was = held.get(key) if isinstance(held, dict) else held
            raise FolderConflictError(
                f"{folder} holds results of another configuration ({key} is {was} there, {wanted[key]} here); "
                "choose another --out, or remove that folder"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderConflictError(f"{folder} exists and is no folder of sapool fit; choose another --out")
    write_text_atomically(path, json.dumps(wanted, indent=2))


class _Work:
    """What every pooling of one ``fit`` shares."""

    def __init__(
        self, config: FitConfig, folder: Path, data: DataSplits, reporter: Reporter, environment: dict[str, str]
    ) -> None:
        self.config, self.folder, self.data = config, folder, data
        self.reporter, self.environment = reporter, environment

    def plan(self, model: nn.Module, pool: str) -> list[Candidate]:
        """Return the measured candidates of one pooling: read back if they are there."""
        path = self.folder / pool / "candidates.json"
        if path.is_file():
            return _read(path, _candidates_from_json)
        self.reporter.stage(f"{pool}: looking for strides that fit {format_kib(self.config.ram_bytes)} of RAM")
        tried = first_fitting_plan(
            model,
            self.config.input_size,
            pool,
            ram_bytes=self.config.ram_bytes,
            flash_bytes=self.config.flash_bytes,
            measure=self._measure_untrained,
        )
        write_text_atomically(path, json.dumps([asdict(candidate) for candidate in tried], indent=2))
        write_text_atomically(self.folder / pool / "plan.json", self._closest(tried).plan.to_json())
        return tried

    def _closest(self, tried: list[Candidate]) -> Candidate:
        return closest(tried, self.config.ram_bytes, self.config.flash_bytes)

    def _is_whole(self, record: RunRecord) -> bool:
        """Whether the files that a finished run promises are still there."""
        files = [self.folder / record.pool / name for name in ("model.tflite", "model.h")]
        return record.export is None or all(file.is_file() for file in files)

    def _measure_untrained(self, model: nn.Module, plan: PoolingPlan) -> ArenaRecord:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "candidate.tflite"
            export_int8(randomize_norms(copy.deepcopy(model)), self.data.calibration(4), path)
            arena = measure_arena(path)
        verdict = "fits" if arena.fits(self.config.ram_bytes, self.config.flash_bytes) else "does not fit"
        strides = ",".join(str(stride) for stride in plan.strides)
        self.reporter.stage(f"  strides {strides}: arena {arena.total_bytes:,} bytes, {verdict}")
        return arena

    def run(self, pool: str, tried: list[Candidate]) -> RunRecord:
        """Return one pooling's record: read back if it is there, else train, export and measure."""
        path = self.folder / pool / "record.json"
        if path.is_file():
            record = _read(path, RunRecord.from_json)
            if self._is_whole(record):
                self.reporter.stage(f"{pool}: finished before, read from {path}")
                return record
        chosen = self._closest(tried)
        model = _fresh_model(self.config, self.data)
        torch.manual_seed(self.config.seed)
        model = replan(model, chosen.plan)
        # What can't fit is not worth training: its record says by how much it misses.
        measured = self._train_and_deploy(pool, model) if chosen.fits else {"fits": False, "arena": chosen.arena}
        record = _run_record(pool, chosen.plan, tried, model, self.config, self.environment, measured)
        write_text_atomically(path, record_to_json(record))
        return record

    def _train_and_deploy(self, pool: str, model: nn.Module) -> dict[str, Any]:
        trained = self._train(pool, model)
        deployed = self._deploy(pool, model)
        self.reporter.stage(
            f"{pool}: test accuracy {trained.test_accuracy:.1%} float, {deployed['int8_test_accuracy']:.1%} int8; "
            f"arena {deployed['arena'].total_bytes:,} bytes; TFLM within {deployed['parity_steps']} int8 step(s) of "
            "LiteRT"
        )
        return {
            "float_val_accuracy": trained.val_accuracy,
            "float_test_accuracy": trained.test_accuracy,
            "best_epoch": trained.best_epoch,
            "train_seconds": trained.train_seconds,
            **deployed,
        }

    def _train(self, pool: str, model: nn.Module) -> TrainRecord:
        """Train ``model``, or load what an earlier call trained; it ends in eval mode."""
        folder = self.folder / pool
        done, weights = folder / "training.json", folder / "weights.safetensors"
        if done.is_file() and weights.is_file():
            load_weights(model, weights)
            model.eval()
            return TrainRecord(**json.loads(done.read_text()))
        self.reporter.stage(f"{pool}: training {self.config.epochs} epochs of {self.data.images_per_epoch:,} images")
        outcome = train(model, self.data, self.config.recipe(), folder, reporter=self.reporter, name=f"training {pool}")
        # Weights first: training.json says that they are complete.
        save_weights(model, weights)
        write_text_atomically(done, record_to_json(outcome))
        return outcome

    def _deploy(self, pool: str, model: nn.Module) -> dict[str, Any]:
        """Export, measure, compare the two interpreters, and classify validation and test in int8."""
        path = self.folder / pool / "model.tflite"
        self.reporter.stage(f"{pool}: quantising to int8 and measuring on TensorFlow Lite Micro")
        export = export_int8(model, self.data.calibration(), path)
        arena = measure_arena(path)
        write_text_atomically(path.with_suffix(".h"), model_header(path.read_bytes(), arena))
        test_images, test_labels = gather(self.data.test)
        parity = check_parity(path, test_images[:PARITY_IMAGES])
        if parity.max_steps > PARITY_LIMIT_STEPS:
            self.reporter.stage(
                f"{pool}: TFLM differs from LiteRT by {parity.max_steps} int8 steps, over the limit of "
                f"{PARITY_LIMIT_STEPS}: counted as not fitting"
            )
        return {
            "fits": parity.max_steps <= PARITY_LIMIT_STEPS
            and arena.fits(self.config.ram_bytes, self.config.flash_bytes),
            "arena": arena,
            "export": export,
            "macs": export.macs,
            "int8_val_accuracy": _int8_accuracy(path, *gather(self.data.val)),
            "int8_test_accuracy": _int8_accuracy(path, test_images, test_labels),
            "parity_steps": parity.max_steps,
            "parity_images": parity.images,
        }


def _run_record(
    pool: str,
    plan: PoolingPlan,
    tried: list[Candidate],
    model: nn.Module,
    config: FitConfig,
    environment: dict[str, str],
    measured: dict[str, Any],
) -> RunRecord:
    arena: ArenaRecord = measured["arena"]
    return RunRecord(
        pool=pool,
        strides=plan.strides,
        plan=plan,
        head_bytes=arena.head_bytes,
        tail_bytes=arena.tail_bytes,
        total_bytes=arena.total_bytes,
        flash_bytes=arena.flash_bytes,
        parameters=sum(p.numel() for p in model.parameters()),
        tried=tuple({"strides": list(c.plan.strides), "total_bytes": c.arena.total_bytes} for c in tried),
        config=asdict(config),
        environment=environment,
        **measured,
    )


def _int8_accuracy(path: Path, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images (N, C, H, W) that a ``.tflite`` classifies as labels (N,) say, run by LiteRT."""
    predicted = torch.from_numpy(run_images(path, images)).argmax(1)
    return float((predicted == labels).float().mean())


def _best(runs: Sequence[RunRecord]) -> str | None:
    fitting = [run for run in runs if run.fits]
    best = max(fitting, key=lambda run: (run.int8_val_accuracy or 0.0, -run.total_bytes), default=None)
    return best.pool if best else None


def _closest(runs: Sequence[RunRecord], config: FitConfig) -> str | None:
    """Return the pooling that misses its budgets by the least share, if none fits."""
    if any(run.fits for run in runs):
        return None
    return min(runs, key=lambda run: run.arena.budget_share(config.ram_bytes, config.flash_bytes)).pool


T = TypeVar("T")


def _read(path: Path, parse: Callable[[str], T]) -> T:
    """Read a file of an earlier call.

    Raises:
        ValueError: it is damaged; the message names it.
    """
    try:
        return parse(path.read_text())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it and say the same command again") from None


def _candidates_from_json(text: str) -> list[Candidate]:
    return [
        Candidate(
            PoolingPlan.from_json(json.dumps(entry["plan"])), ArenaRecord.from_dict(entry["arena"]), bool(entry["fits"])
        )
        for entry in json.loads(text)
    ]
