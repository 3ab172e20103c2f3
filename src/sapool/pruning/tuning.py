"""Pruning in steps with fine-tuning behind each, in a folder that a killed run goes on in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool.base.files import write_text_atomically
from sapool.base.reading import parse_record, read_record
from sapool.base.records import Reporter, SilentReporter, TrainRecord, record_to_json
from sapool.networks.traced import InputSize
from sapool.pruning.importance import Batches
from sapool.pruning.prune import prune_channels
from sapool.pruning.records import Pruned
from sapool.training import DataSplits, Hardware, TrainConfig, evaluate, load_weights, save_weights, train

# Of the recipe's learning rate: what is there is to be mended, not learned anew.
RATE_SHARE = 0.1
_BATCHES, _BATCH = 8, 32
_WEIGHTS, _DONE = "weights.safetensors", "tuning.json"


@dataclass(frozen=True)
class TunedStep:
    """One step of a pruning: accuracies on validation, shares of 1.

    Attributes:
        step: 1, 2, ...
        parameters: of the network that the step left.
        pruned_val_accuracy: right behind the pruning.
        tuned_val_accuracy: behind the fine-tuning; None without.
        best_epoch: of the fine-tuning, chosen on validation.
        train_seconds: time it took.
    """

    step: int
    parameters: int
    pruned_val_accuracy: float
    tuned_val_accuracy: float | None = None
    best_epoch: int | None = None
    train_seconds: float = 0.0


@dataclass(frozen=True)
class TuneRecord:
    """What pruning and fine-tuning did to the accuracies.

    Attributes:
        before_val_accuracy: of the unpruned network.
        before_test_accuracy: the same on the test split.
        steps: in order.
        val_accuracy: of the result.
        test_accuracy: the same on the test split.
        teacher: whether the unpruned network taught.
        recipe: of the fine-tuning; None without.
    """

    before_val_accuracy: float
    before_test_accuracy: float
    steps: tuple[TunedStep, ...]
    val_accuracy: float
    test_accuracy: float
    teacher: bool
    recipe: dict[str, Any] | None

    @classmethod
    def from_json(cls, text: str) -> TuneRecord:
        """Read what :func:`sapool.base.records.record_to_json` wrote.

        Raises:
            ValueError: the text is no such record.
        """
        try:
            return parse_record(cls, text)
        except ValueError as error:
            raise ValueError(f"not a record of fine-tuning: {error}") from None


@dataclass(frozen=True)
class Tuned:
    """A pruned and fine-tuned copy of a network, and both records of it."""

    pruned: Pruned
    record: TuneRecord


def tuning_recipe(recipe: TrainConfig, epochs: int, rate_share: float = RATE_SHARE) -> TrainConfig:
    """Return the recipe of a fine-tuning: fewer epochs at a share of the rate, the warm-up in proportion.

    Raises:
        ValueError: ``epochs`` under 1, or a share that is not positive.
    """
    warmup = recipe.warmup_epochs * epochs / recipe.epochs
    return replace(recipe, epochs=epochs, learning_rate=recipe.learning_rate * rate_share, warmup_epochs=warmup)


def prune_and_tune(
    model: nn.Module,
    input_size: InputSize,
    data: DataSplits,
    folder: str | Path,
    *,
    recipe: TrainConfig | None,
    teacher: bool = False,
    hardware: Hardware | None = None,
    reporter: Reporter | None = None,
    iterative_steps: int = 1,
    **pruning: Any,
) -> Tuned:
    """Prune a copy of a trained network in steps, and fine-tune behind each.

    Every step has a folder of its own (``step1``, ``step2``, ...). Called again with the same arguments after a kill,
    finished fine-tunings are read back and an interrupted one goes on behind its last epoch.

    Args:
        model: a trained network (N, C, H, W) -> (N, classes); it stays as it is.
        input_size: an int (square, 3 channels) or (C, H, W).
        data: the splits; test is not looked at before the end.
        folder: where the steps go.
        recipe: of the fine-tuning, see :func:`tuning_recipe`; None: none.
        teacher: whether ``model`` teaches the pruned network.
        hardware: what fine-tuning runs on.
        reporter: is told the progress.
        iterative_steps: how many steps.
        **pruning: the other keywords of :func:`prune_channels` but ``after_step``; ``data`` for ``"taylor"`` is taken
            from the training split unless given.

    Returns:
        The network in eval mode, and the records.

    Raises:
        ValueError: as :func:`prune_channels`, and ``teacher`` without a recipe.
        DivergedError: the loss is no longer finite.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    if teacher and recipe is None:
        raise ValueError("teacher needs fine-tuning: give a recipe of at least 1 epoch")
    told = reporter or SilentReporter()
    if pruning.get("importance") == "taylor" and pruning.get("data") is None:
        pruning["data"] = labelled_batches(data)
    tuning = _Tuning(model, data, Path(folder), recipe, teacher, hardware, told, iterative_steps)
    after_step = tuning.finish_step if iterative_steps > 1 else None
    pruned = prune_channels(
        model, input_size, iterative_steps=iterative_steps, after_step=after_step, reporter=told, **pruning
    )
    tuning.finish_step(pruned.model, iterative_steps)
    pruned.model.eval()
    last = tuning.steps[-1]
    record = TuneRecord(
        before_val_accuracy=evaluate(model, data.val),
        before_test_accuracy=evaluate(model, data.test),
        steps=tuple(tuning.steps),
        val_accuracy=last.pruned_val_accuracy if last.tuned_val_accuracy is None else last.tuned_val_accuracy,
        test_accuracy=evaluate(pruned.model, data.test),
        teacher=teacher,
        recipe=None if recipe is None else json.loads(json.dumps(asdict(recipe))),
    )
    return Tuned(pruned, record)


class _Tuning:
    """Fine-tunes behind each step, and remembers what came of it."""

    def __init__(
        self,
        model: nn.Module,
        data: DataSplits,
        folder: Path,
        recipe: TrainConfig | None,
        teacher: bool,
        hardware: Hardware | None,
        reporter: Reporter,
        count: int,
    ) -> None:
        self.data, self.folder, self.recipe, self.reporter, self.count = data, folder, recipe, reporter, count
        self.steps: list[TunedStep] = []
        # A copy: training puts the teacher into eval mode and on its device.
        taught = copy.deepcopy(model) if teacher else None
        self.train: Callable[..., TrainRecord] = partial(train, hardware=hardware, teacher=taught, reporter=reporter)

    def finish_step(self, network: nn.Module, step: int) -> None:
        """Fine-tune ``network`` in place, or load what an earlier call made of it."""
        folder = self.folder / f"step{step}"
        done, weights = folder / _DONE, folder / _WEIGHTS
        if done.is_file() and weights.is_file():
            held = read_record(TunedStep, done)
            load_weights(network, weights)
            self.reporter.stage(f"step {step} of {self.count}: finished before, read from {done}")
        else:
            held = self._tune(network, step, folder)
            save_weights(network, weights)
            # Last: it says that the weights are complete.
            write_text_atomically(done, record_to_json(held))
        network.eval()
        self.steps.append(held)

    def _tune(self, network: nn.Module, step: int, folder: Path) -> TunedStep:
        accuracy = evaluate(network, self.data.val)
        parameters = sum(p.numel() for p in network.parameters())
        said = f"step {step} of {self.count}: {parameters:,} parameters, validation accuracy {accuracy:.1%} pruned"
        if self.recipe is None:
            self.reporter.stage(said)
            return TunedStep(step, parameters, accuracy)
        outcome = self.train(
            network.train(), self.data, self.recipe, folder, name=f"fine-tuning {step} of {self.count}"
        )
        self.reporter.stage(f"{said}, {outcome.val_accuracy:.1%} fine-tuned")
        return TunedStep(
            step, parameters, accuracy, outcome.val_accuracy, outcome.best_epoch, outcome.train_seconds
        )  # fmt: skip


def labelled_batches(data: DataSplits) -> Batches:
    """Return the first training images as batches (images, labels): what ``importance="taylor"`` looks at."""
    images: Any = data.train
    items = [images[i] for i in range(min(_BATCH * _BATCHES, len(images)))]
    parts = (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
    return [(torch.stack([x for x, _ in part]), torch.tensor([int(y) for _, y in part])) for part in parts]
