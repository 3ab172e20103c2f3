"""The folder that ``sapool train`` or ``sapool prune`` leaves: its network, to be exported, pruned or to teach."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from sapool.base.records import PoolingPlan
    from sapool.training import DataSplits, TrainConfig

RECORD, WEIGHTS, PLAN, CHANNELS = "record.json", "weights.safetensors", "plan.json", "channels.json"


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of ``sapool train``, or what ``sapool prune`` made of a network.

    Attributes:
        folder: where it lies.
        config: what it was told.
        num_classes: outputs of its classifier.
        classes: their names, as far as the record has them.
    """

    folder: Path
    config: dict[str, Any]
    num_classes: int
    classes: tuple[str, ...] = ()

    def network(self) -> nn.Module:
        """Return its network with its plan, widths and weights, in eval mode."""
        from sapool.pruning import load_pruned
        from sapool.training import load_weights

        network = self.unpruned().eval()
        if (self.folder / CHANNELS).is_file():
            return load_pruned(network, self.folder)
        load_weights(network, self.folder / WEIGHTS)
        return network

    def unpruned(self) -> nn.Module:
        """Return the network that its name and plan make, with first weights."""
        from sapool.base.records import PoolingPlan

        plan = self.config["plan"]
        planned = None if plan is None else PoolingPlan.from_json(json.dumps(plan))
        return planned_model(self.config["model"], self.num_classes, planned)

    def recipe(self) -> TrainConfig:
        """Return the recipe it was trained by."""
        from sapool.training import TrainConfig

        fields: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in self.config["recipe"].items()
        }
        return TrainConfig(**fields)

    def data(self, epochs: int | None = None) -> DataSplits:
        """Return the data it was trained on, as its network wants it; with ``epochs`` to be trained on again."""
        from sapool.training import load_data

        recipe = self.recipe()
        asked = {name: self.config[name] for name in ("skip_bad", "train_images", "fragments")}
        asked |= {"mean": recipe.mean, "std": recipe.std}
        if epochs is not None:
            asked |= {"epochs": epochs, "seed": recipe.seed, "augment": recipe.augment}
        return load_data(self.config["data"], self.config["input_size"], **asked)


def planned_model(name: str, num_classes: int, plan: PoolingPlan | None) -> nn.Module:
    """Load a network by name and put a plan in it, if there is one."""
    from sapool.networks.load import load_model
    from sapool.predict.search import replan

    network = load_model(name, num_classes)
    return network if plan is None else replan(network, plan)


def read_run(folder: Path) -> TrainedRun:
    """Read a run's folder.

    Raises:
        ValueError: there is no finished run of ``sapool train`` or ``sapool prune`` in it.
    """
    path = folder / RECORD
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} holds no finished run of sapool train: {RECORD} and {WEIGHTS} are not both there")
    try:
        record = json.loads(path.read_text())
        data = record["data"]
        return TrainedRun(folder, record["config"], int(data["num_classes"]), tuple(data.get("classes", ())))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of sapool train ({type(error).__name__}: {error})") from None
