"""What a network costs: parameters, multiply-accumulates and the predicted arena."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from sapool import tflite
from sapool.memory import MemoryProfile
from sapool.networks.traced import Network, trace
from sapool.passes import choose_passes
from sapool.predict.lowering import lower
from sapool.predict.pool_forms import deploy_pool
from sapool.predict.profile import UNPREDICTABLE, profile_memory
from sapool.pruning.records import Cost
from sapool.tflite import Graph

Size = tuple[int, int, int]
Passes = str | Sequence[str]


def plain_graph(model: Network, size: Size, passes: Passes, memo: dict[Any, Any] | None = None) -> Graph:
    """Return the operators as the converter writes them; the passes on the file (tiling, order) are not applied.

    ``memo`` remembers pooling layers from call to call.
    """
    chosen = choose_passes(passes)
    traced = trace(model, size).module
    return lower(traced, size, partial(deploy_pool, passes=chosen), memo, fold_padding="fold_padding" in chosen)


def count_macs(model: Network, size: Size) -> int:
    """Return the multiply-accumulates of one inference, without any pass of the export."""
    return tflite.count_macs(plain_graph(model, size, "none"))


def cost_of(model: nn.Module, size: Size, passes: Passes) -> Cost:
    """Return what a network costs; of one that can't be predicted (torch.fx, deformed patches) only the parameters."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    try:
        traced = trace(model, size)
        profile, macs = profile_memory(traced, size, passes=passes), count_macs(traced, size)
    except UNPREDICTABLE:
        return Cost(parameters)
    arena = (profile.head_bytes, profile.tail_bytes, profile.total_bytes)
    return Cost(parameters, macs, *arena, peak=peak_of(profile), setup_bytes=profile.setup_bytes)


def peak_of(profile: MemoryProfile) -> str:
    """Return the operator where the most is alive, with its PyTorch module where that is known."""
    operator = profile.by_operator[profile.peak_operator]
    return f"{operator.index} {operator.kind}" + (f" ({operator.module})" if operator.module else "")
