"""How the headline's saving splits, measured without training: ``python benchmarks/headline/savings.py``.

Each step contains all before it; behind them, the whole without one of them. Writes ``savings.json``; what is there is
not measured again. Normalisations are randomised: the arena depends on no weight.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import definitions
import torch
from deploying import REWRITES, deploy
from torch import nn

from sapool.base.environment import describe_environment
from sapool.base.files import write_text_atomically
from sapool.export import randomize_norms
from sapool.training import load_data

PATH = Path(__file__).parent / "savings.json"
# The same network without the copy that padding costs: the lean denominator.
LEAN = ("fold_padding", "tidy")
IMAGES = 4
STOCK = replace(definitions.NETWORKS["self_attentive"], pool="strided", strides=definitions.STOCK, kwargs={})


@dataclass(frozen=True)
class Step:
    """A network and how it is exported."""

    planned: bool = False
    pruned: bool = False
    passes: tuple[str, ...] = ()
    tiled: bool = False

    def network(self) -> nn.Module:
        network = definitions.NETWORKS["self_attentive"] if self.planned else STOCK
        return randomize_norms(network.build(0, pruned=self.pruned)[0])


STEPS: Mapping[str, Step] = {
    "as the converter writes it": Step(),
    "lean export": Step(passes=LEAN),
    "down-sampling": Step(planned=True),
    "+ pruning": Step(planned=True, pruned=True),
    "+ exact rewrites": Step(planned=True, pruned=True, passes=REWRITES),
    "+ tiling": Step(planned=True, pruned=True, passes=REWRITES, tiled=True),
    "all but down-sampling": Step(pruned=True, passes=REWRITES, tiled=True),
    "all but pruning": Step(planned=True, passes=REWRITES, tiled=True),
    "all but exact rewrites": Step(planned=True, pruned=True, tiled=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    held = json.loads(PATH.read_text()) if PATH.is_file() else {"environment": describe_environment(), "steps": {}}
    for name, step in STEPS.items():
        if name not in held["steps"]:
            held["steps"][name] = measured(step)
            write_text_atomically(PATH, json.dumps(held, indent=1) + "\n")
        print(f"{name:28}", *(f"{key} {value:,}" for key, value in held["steps"][name].items()))


def measured(step: Step) -> dict[str, int]:
    """Return measured bytes and the operations of one inference."""
    images = list(load_data(definitions.DATA, definitions.SIZE).calibration(IMAGES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        found = deploy(step.network(), images, path, passes=step.passes, tiled=step.tiled)
    return {
        "head_bytes": found.arena.head_bytes,
        "tail_bytes": found.arena.tail_bytes,
        "total_bytes": found.arena.total_bytes,
        "head_without_image_bytes": found.head_without_image_bytes,
        "flash_bytes": found.arena.flash_bytes,
        "macs": found.export.macs,
    }


if __name__ == "__main__":
    main()
