"""What a network needs on a micro-controller, predicted from a ``.tflite`` or from PyTorch without exporting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from sapool.deployed import deploy_pool
from sapool.export.passes import apply_file_passes, choose_passes
from sapool.graph import InputSize, as_input_size, trace
from sapool.lowering import lower
from sapool.memory import ArenaGraph, MemoryProfile, arena_graph_of, profile_graph, profile_tflite
from sapool.memory.skeleton import skeleton_of


def profile_memory(
    model: nn.Module | str | Path, input_size: InputSize | None = None, *, passes: str | Sequence[str] = "all"
) -> MemoryProfile:
    """Predict the tensor arena of a network, and the other figures that are called its memory.

    Args:
        model: a network, (N, C, H, W) -> anything, predicted as :func:`sapool.export_int8` would write it; or the path
            of a ``.tflite`` of any origin.
        input_size: of a network: an int (square, 3 channels) or (C, H, W).
        passes: of a network: the export's.

    Returns:
        The profile: bytes in all, and operator by operator.

    Raises:
        ValueError: a network without a size, or one that torch.fx can't trace; a file that is no ``.tflite``.
    """
    if isinstance(model, str | Path):
        if input_size is not None:
            raise ValueError(f"input_size goes with a network; {model} has its own")
        return profile_tflite(model)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module or the path of a .tflite, got {type(model).__name__}")
    if input_size is None:
        raise ValueError("profile_memory of a network needs input_size: an int or (channels, height, width)")
    return profile_predicted(predict_graphs(model, input_size, passes=passes))


@dataclass(frozen=True)
class PredictedGraphs:
    """A network as operators: ``plain`` as the converter writes it, ``exported`` with the passes on the file."""

    plain: ArenaGraph
    exported: ArenaGraph


def predict_graphs(model: nn.Module, input_size: InputSize, *, passes: str | Sequence[str] = "all") -> PredictedGraphs:
    """Return the operators that an export of ``model`` at ``input_size`` would have, without exporting.

    Raises:
        ValueError: torch.fx can't trace the network, or it can't take this size.
    """
    chosen = choose_passes(passes)
    traced = trace(model, input_size)
    folds = "fold_padding" in chosen
    plain = lower(traced.module, as_input_size(input_size), partial(deploy_pool, passes=chosen), fold_padding=folds)
    file = skeleton_of(plain)
    apply_file_passes(file, chosen)
    return PredictedGraphs(plain, arena_graph_of(file))


def profile_predicted(graphs: PredictedGraphs) -> MemoryProfile:
    """Profile the exported graph; the other conventions are about the network, so they are the plain one's."""
    return replace(profile_graph(graphs.exported), conventions=profile_graph(graphs.plain).conventions)
