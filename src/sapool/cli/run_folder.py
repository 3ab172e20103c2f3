"""The folder that ``sapool train`` leaves: its network, ready to be exported or to teach another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from sapool.records import PoolingPlan
    from sapool.training import DataSplits

RECORD, WEIGHTS, PLAN = "record.json", "weights.safetensors", "plan.json"


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of ``sapool train``.

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
        """Return its network with its plan and weights, in eval mode."""
        from sapool.records import PoolingPlan
        from sapool.training import load_weights

        plan = self.config["plan"]
        planned = None if plan is None else PoolingPlan.from_json(json.dumps(plan))
        network = planned_model(self.config["model"], self.num_classes, planned)
        load_weights(network, self.folder / WEIGHTS)
        return network.eval()

    def data(self) -> DataSplits:
        """Return the data it was trained on, as its network wants it."""
        from sapool.training import load_data

        recipe = self.config["recipe"]
        statistics = {name: tuple(recipe[name]) for name in ("mean", "std") if recipe[name] is not None}
        asked = {name: self.config[name] for name in ("skip_bad", "train_images", "fragments")}
        return load_data(self.config["data"], self.config["input_size"], **statistics, **asked)  # type: ignore[arg-type]


def planned_model(name: str, num_classes: int, plan: PoolingPlan | None) -> nn.Module:
    """Load a network by name and put a plan in it, if there is one."""
    from sapool.models import load_model
    from sapool.search import replan

    network = load_model(name, num_classes)
    return network if plan is None else replan(network, plan)


def read_run(folder: Path) -> TrainedRun:
    """Read a run's folder.

    Raises:
        ValueError: there is no finished run of ``sapool train`` in it.
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
