"""Reading back what a job left in a folder: its record, its plan, its weights, and the network they make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapool.base.image_size import COLOURS, as_input_size
from sapool.base.records import PoolingPlan
from sapool.workflows.folder import (
    CHANNELS,
    COMPARE,
    COMPARISON,
    DETECT,
    DETECT_COMPARE,
    FIT,
    PRUNED,
    RECORD,
    RUN,
    SUMMARY,
    TRAIN,
    WEIGHTS,
    Kind,
    RunFolder,
)

if TYPE_CHECKING:
    from torch import nn

    from sapool.base.image_size import InputSize
    from sapool.training import DataSplits, TrainConfig

# The parts of a record without which it is none of its kind.
_PARTS = {TRAIN: ("config", "result", "data"), PRUNED: ("config", "prune", "data"), RUN: ("config", "plan")}


@dataclass(frozen=True)
class OpenedRun:
    """A finished folder of results.

    Of a ``fit`` or a comparison, which hold several runs, plan, weights and network are those of the best: of the way
    that ``fit`` names, of the first row of a comparison's table.

    Attributes:
        folder: where it lies.
        command: that filled it.
        record: all that is known of it, as JSON has it.
        runs: of a ``fit`` or a comparison: its finished runs, the best one first.
    """

    folder: Path
    command: str
    record: dict[str, Any]
    runs: tuple[OpenedRun, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        """What it was told."""
        return self.record["config"]

    @property
    def plan(self) -> PoolingPlan | None:
        """The plan that is in its network; None: the network is as it was."""
        if self.command in (FIT.command, COMPARE.command, DETECT_COMPARE.command):
            return self._best().plan
        plan = self.record["plan"] if "plan" in self.record else self.config["plan"]
        return None if plan is None else PoolingPlan.from_json(json.dumps(plan))

    @property
    def weights(self) -> Path:
        """The file of its trained weights.

        Raises:
            ValueError: it was not trained, as it would not have fit.
        """
        if self.runs:
            return self._best().weights
        path = self.folder / WEIGHTS
        if not path.is_file():
            raise ValueError(f"{self.folder} holds no weights: nothing was trained there, as the plan does not fit")
        return path

    @property
    def input_size(self) -> InputSize:
        """The size of its network's image: a side, or (C, H, W)."""
        if self.runs:
            return self._best().input_size
        size = self.record["plan"]["input_size"] if "plan" in self.record else self.config["input_size"]
        return size if isinstance(size, int) else tuple(size)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, as far as the record has them."""
        return tuple(self.record.get("data", {}).get("classes", ()))

    @property
    def num_classes(self) -> int:
        """Outputs of its classifier."""
        if self.runs:
            return self._best().num_classes
        data = self.record.get("data", {})
        return (
            int(data["num_classes"])
            if "num_classes" in data
            else _outputs(self.config["model"], self.weights, self.in_channels)
        )

    @property
    def in_channels(self) -> int:
        """Channels of its network's image."""
        return as_input_size(self.input_size)[0]

    def network(self) -> nn.Module:
        """Return its network with its plan, widths and weights, in eval mode.

        Raises:
            ValueError: it was not trained, or the files are damaged.
        """
        from sapool.pruning.saving import load_pruned
        from sapool.training import load_weights

        if self.runs:
            return self._best().network()
        if self.command == DETECT.command:
            from sapool.workflows.detect import read_detector

            return read_detector(self.folder).detector()
        weights, network = self.weights, self.unpruned().eval()
        if (self.folder / CHANNELS).is_file():
            return load_pruned(network, self.folder)
        load_weights(network, weights)
        return network

    def unpruned(self) -> nn.Module:
        """Return the network that its name and plan make, with first weights."""
        return planned_model(self.config["model"], self.num_classes, self.plan, self.in_channels)

    def recipe(self) -> TrainConfig:
        """Return the recipe it was trained by."""
        from sapool.training import TrainConfig

        names = ("epochs", "batch_size", "learning_rate", "seed")  # all that a fit's configuration has of it
        whole = self.config.get("recipe") or self.config.get("training")
        held = whole or {name: self.config[name] for name in names}
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in held.items()}
        return TrainConfig(**fields)

    def data(self, epochs: int | None = None) -> DataSplits:
        """Return the data it was trained on, as its network wants it; with ``epochs`` to be trained on again."""
        from sapool.training import load_data

        recipe = self.recipe()
        names = ("skip_bad", "train_images", "fragments")
        asked: dict[str, Any] = {name: self.config[name] for name in names if self.config.get(name) is not None}
        asked |= {"mean": recipe.mean, "std": recipe.std}
        if epochs is not None:
            asked |= {"epochs": epochs, "seed": recipe.seed, "augment": recipe.augment}
        return load_data(self.config["data"], self.input_size, **asked)

    def _best(self) -> OpenedRun:
        if not self.runs:
            raise ValueError(f"{self.folder} holds no finished run: nothing was trained there")
        return self.runs[0]


def open_run(folder: str | Path) -> OpenedRun:
    """Read back a folder that ``fit``, ``train``, ``prune``, ``compare`` or ``detect`` filled, or one run inside it.

    Args:
        folder: of the results.

    Returns:
        Its record, plan, weights and network.

    Raises:
        ValueError: there is nothing finished in it, or it is damaged; the message names the file.

    Example::

        run = sapool.open_run("runs/first")
        print(run.command, run.record["result"]["test_accuracy"], run.plan.strides)
        network = run.network()
    """
    folder = Path(folder)
    for kind in (FIT, COMPARE):
        if RunFolder(folder, kind).is_whole():
            return _open_many(folder, kind)
    if not (folder / RECORD).is_file():
        raise ValueError(f"{folder} holds no finished run: none of {RECORD}, {SUMMARY} and {COMPARISON} is there")
    record = RunFolder(folder, RUN).read()
    kind = _kind_of(record)
    missing = [name for name in kind.files if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no finished run of {kind.command}: {missing[0]} is not there")
    lacking = [part for part in _PARTS.get(kind, ("config",)) if part not in record]
    if lacking:
        raise ValueError(f"{folder / RECORD} is no record of {kind.command}: no {lacking[0]!r} in it")
    return OpenedRun(folder, kind.command, record)


def read_run(folder: str | Path) -> OpenedRun:
    """Read the folder of one trained classifier, or of several: then the best is taken.

    Raises:
        ValueError: as :func:`open_run`; or there is a detector in it.
    """
    run = open_run(folder)
    if run.command in (DETECT.command, DETECT_COMPARE.command):
        raise ValueError(f"{folder} holds no finished run of sapool train: it is one of {run.command}")
    return run


def planned_model(name: str, num_classes: int, plan: PoolingPlan | None, in_channels: int = COLOURS) -> nn.Module:
    """Load a network by name and put a plan in it, if there is one."""
    from sapool.networks.load import load_model
    from sapool.predict.search import replan

    network = load_model(name, num_classes, in_channels=in_channels)
    return network if plan is None else replan(network, plan)


def _kind_of(record: dict[str, Any]) -> Kind:
    """Tell by its parts which command's record it is."""
    if "prune" in record:
        return PRUNED
    if "backbone" in record:
        return DETECT
    return RUN if "pool" in record else TRAIN


def _open_many(folder: Path, kind: Kind) -> OpenedRun:
    record = RunFolder(folder, kind).read("config")
    best: Path | None
    if kind is FIT:
        best, paths = _ways(folder, record)
    elif "rows" in record:
        kind = DETECT_COMPARE
        best, paths = _rows(folder, [row["pool"] for row in record["rows"]])
    else:
        best, paths = _tables(folder, record)
    ordered = sorted(paths, key=lambda path: path != best)
    return OpenedRun(folder, kind.command, record, tuple(open_run(path) for path in ordered))


def _ways(folder: Path, record: dict[str, Any]) -> tuple[Path, list[Path]]:
    """Return the folder of a fit's best way (or the closest), and those of all."""
    names = [way["name"] for way in record["ways"]]
    return folder / (record["best"] or record["closest"]), [folder / name for name in names]


def _tables(folder: Path, record: dict[str, Any]) -> tuple[Path | None, list[Path]]:
    """Return the folder of the best row's first run, and those of all; the folder may have moved."""
    rows = [row for rows in record["tables"].values() for row in rows]
    places = [folder.joinpath("runs", *Path(path).parts[-3:-1]) for row in rows for path in row["records"]]
    there = list(dict.fromkeys(place for place in places if (place / RECORD).is_file()))
    return (there[0] if there else None), there


def _rows(folder: Path, pools: list[str]) -> tuple[Path | None, list[Path]]:
    """Return the same of a comparison of detectors."""
    there = [path.parent for pool in pools for path in sorted((folder / "runs" / pool).glob(f"seed*/{RECORD}"))]
    return (there[0] if there else None), there


def _outputs(name: str, weights: Path, in_channels: int) -> int:
    """Return how many outputs a classifier has whose record doesn't say so: what depends on their number tells."""
    from sapool.base.extras import require
    from sapool.networks.load import load_model

    state = require("safetensors.torch", "train", "open_run").load_file(weights)
    few, more = (load_model(name, count, in_channels=in_channels).state_dict() for count in (10, 11))
    for key, tensor in few.items():
        for axis, (size, other) in enumerate(zip(tensor.shape, more[key].shape, strict=True)):
            if size != other and key in state:
                return int(state[key].shape[axis])
    raise ValueError(f"{weights} are no weights of {name}: its classifier is not among them")
