"""The headline's networks: mobilenetv2_100 at 224 px, re-planned and pruned to a budget, and what they are held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from sapool.base.records import PoolingPlan
from sapool.layers import is_pool
from sapool.networks.load import load_model
from sapool.planning.plan import Stride, make_plan
from sapool.predict.search import replan
from sapool.pruning import prune_channels
from sapool.training import TrainConfig

MODEL, SIZE, DATA, CLASSES = "timm:mobilenetv2_100", 224, "digits", 10
# Shares of the two published denominators, both of the stock network: 22 times less.
TIMES = 22
# The plain head, image included, and the committed file.
HEAD_BYTES, FILE_BYTES = 200_000, 1 << 20
# The whole arena, of a board with 512 KiB: what `fits` in the records means.
RAM_BYTES = 512 * 1024
RECIPE = TrainConfig(epochs=8, batch_size=16, learning_rate=0.002)
# Of scattered data sets alone: clutter. None: the images are whole, and fill the canvas.
TRAIN_IMAGES, EVAL_IMAGES, FRAGMENTS = 1000, 300, None

STRIDES: tuple[Stride, ...] = ((4, 1), 4, 2, 1, 2)
STOCK: tuple[Stride, ...] = (2, 2, 2, 2, 2)
# More overlap of tiles than an export allows itself (a fifth): few of the network's operations are in the tiled stem.
MOST_EXTRA_MACS = 0.5
# The last stages are small in RAM but most of the file, which must be small enough to be committed.
PRUNED: Mapping[tuple[str, ...], float] = {("blocks.4",): 0.25, ("blocks.5", "blocks.6", "conv_head"): 0.7}


@dataclass(frozen=True)
class Network:
    """One way to the budget: channels go before training, so their importance is chance: a narrower network.

    Attributes:
        pool: the pooling.
        strides: one a site.
        pruned: {layers, by the starts of their names: the share of their channels that goes}.
        kwargs: keywords of the pool.
    """

    pool: str
    strides: tuple[Stride, ...] = STRIDES
    pruned: Mapping[tuple[str, ...], float] = field(default_factory=lambda: PRUNED)
    kwargs: Mapping[str, object] = field(default_factory=dict)

    def build(self, seed: int, *, pruned: bool = True) -> tuple[nn.Module, PoolingPlan]:
        """Return the network with first weights, (N, 3, 224, 224) -> (N, 10), in eval mode, and its plan."""
        torch.manual_seed(seed)
        model = load_model(MODEL, CLASSES).eval()
        plan = make_plan(model, SIZE, self.pool, self.strides, **self.kwargs)
        model = replan(model, plan).eval()
        convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        outside = [name for name in convs if not _in_pool(model, name)]
        for starts, ratio in self.pruned.items() if pruned else ():
            kept = [name for name in outside if not name.startswith(starts)]
            model = prune_channels(model, SIZE, ratio=ratio, exclude=kept, passes="none").model
        return model.eval(), plan


def _in_pool(model: nn.Module, name: str) -> bool:
    """Whether a layer is inside one of our pools, which prune themselves."""
    parts = name.split(".")
    return any(is_pool(model.get_submodule(".".join(parts[:end]))) for end in range(1, len(parts)))


NETWORKS: dict[str, Network] = {
    "self_attentive": Network("self_attentive", kwargs={"init": "average"}),
    "avg": Network("avg"),
    "max": Network("max"),
    # Without the narrower first blocks its head without the image is 183,712.
    "strided": Network(
        "strided", strides=(4, 4, 2, 1, 2), pruned={("conv_stem", "blocks.0", "blocks.1"): 0.25, **PRUNED}
    ),
    # Its logits take as much as what it pools: fewer channels there.
    "lip": Network("lip", pruned={("blocks.1.0.conv_pwl", "blocks.1.1.conv_pwl"): 0.3, **PRUNED}),
    "pruning alone": Network("strided", strides=STOCK, pruned={("",): 0.75}),
}
