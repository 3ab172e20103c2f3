"""What a network needs on a micro-controller, predicted from a ``.tflite`` or from PyTorch without exporting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from sapool.base.arena import ArenaSize
from sapool.memory import MemoryProfile, arena_size, profile_graph, profile_tflite
from sapool.networks.traced import InputSize, Network, TracedModel, as_input_size, trace
from sapool.networks.tracer import ShapeDecisionError, UntraceableModelError
from sapool.passes import PASSES, apply_file_passes, choose_passes
from sapool.predict.lowering import UnpredictableError, lower
from sapool.predict.lowering.builder import as_file
from sapool.predict.pool_forms import deploy_pool
from sapool.tflite import Graph

# What a network raises whose arena can't be predicted, though it runs.
UNPREDICTABLE = (UntraceableModelError, ShapeDecisionError, UnpredictableError)


def profile_memory(
    model: Network | str | Path, input_size: InputSize | None = None, *, passes: str | Sequence[str] = "all"
) -> MemoryProfile:
    """Predict the tensor arena of a network, and the other figures that are called its memory.

    Args:
        model: a network, (N, C, H, W) -> anything, or its trace, predicted as :func:`sapool.export_int8` would write
            it; or the path of a ``.tflite`` of any origin.
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
    if not isinstance(model, nn.Module | TracedModel):
        raise ValueError(f"model must be a torch.nn.Module or the path of a .tflite, got {type(model).__name__}")
    if input_size is None:
        raise ValueError("profile_memory of a network needs input_size: an int or (channels, height, width)")
    return profile_predicted(predict_graphs(model, input_size, passes=passes))


@dataclass(frozen=True)
class PredictedGraphs:
    """A network as operators: ``plain`` as the converter writes it, ``exported`` with the passes on the file."""

    plain: Graph
    exported: Graph


def predict_graphs(model: Network, input_size: InputSize, *, passes: str | Sequence[str] = "all") -> PredictedGraphs:
    """Return the operators that an export of ``model`` at ``input_size`` would have, without exporting.

    Raises:
        ValueError: torch.fx can't trace the network, or it can't take this size.
    """
    chosen = choose_passes(passes)
    traced = trace(model, input_size)
    folds = "fold_padding" in chosen
    plain = lower(traced.module, as_input_size(input_size), partial(deploy_pool, passes=chosen), fold_padding=folds)
    file = as_file(plain)
    apply_file_passes(file, chosen)
    return PredictedGraphs(plain, file)


def profile_predicted(graphs: PredictedGraphs) -> MemoryProfile:
    """Profile the exported graph; the other conventions are about the network, so they are the plain one's."""
    return replace(profile_graph(graphs.exported), conventions=profile_graph(graphs.plain).conventions)


@dataclass(frozen=True)
class PassSaving(ArenaSize):
    """The arena that is predicted with a pass and all before it; the first, without a name, has none."""

    name: str = ""


def profile_passes(
    model: Network, input_size: InputSize, *, passes: str | Sequence[str] = "all"
) -> tuple[PassSaving, ...]:
    """Predict what each pass of an export saves, one after the other in the order of the export.

    Args:
        model: a network that torch.fx can trace, or its trace.
        input_size: an int (square, 3 channels) or (C, H, W).
        passes: the export's.

    Returns:
        The arena without passes, then with one more each.

    Raises:
        ValueError: torch.fx can't trace the network, or it can't take this size.
    """
    chosen = choose_passes(passes)
    traced, size = trace(model, input_size), as_input_size(input_size)
    on_network = [name for name in chosen if name in PASSES]
    plain = lower(traced.module, size, partial(deploy_pool, passes=()), fold_padding=False)
    steps = [_saving("", arena_size(plain))]
    for count in range(1, len(on_network) + 1):
        applied = tuple(on_network[:count])
        folds = "fold_padding" in applied
        plain = lower(traced.module, size, partial(deploy_pool, passes=applied), fold_padding=folds)
        steps.append(_saving(applied[-1], arena_size(plain)))
    file = as_file(plain)
    for name in chosen[len(on_network) :]:
        apply_file_passes(file, (name,))
        steps.append(_saving(name, arena_size(file)))
    return tuple(steps)


def profile_savings(
    stages: Sequence[tuple[str, Network, InputSize]], *, passes: str | Sequence[str] = "all"
) -> tuple[PassSaving, ...]:
    """Predict how a saving of memory splits: what changed the network, then exact rewrites, then tiling.

    Args:
        stages: (name, network or its trace, input size), the network as it is first; each is predicted without a pass.
        passes: what the last one is exported with; all of them but ``tile_prefix`` are "exact rewrites".

    Returns:
        The arena at every stage, then with exact rewrites, then with tiling; each contains all before it.

    Raises:
        ValueError: torch.fx can't trace a network, or it can't take its size.
    """
    chosen = choose_passes(passes)
    untiled = tuple(name for name in chosen if name != "tile_prefix")
    traced = [(name, trace(model, size), size) for name, model, size in stages]
    _, last, size = traced[-1]
    profiles = [(name, profile_memory(model, side, passes="none")) for name, model, side in traced]
    profiles += [("exact rewrites", profile_memory(last, size, passes=untiled))]
    profiles += [("tiling", profile_memory(last, size, passes=chosen))]
    return tuple(_saving(name, profile) for name, profile in profiles)


def _saving(name: str, size: ArenaSize) -> PassSaving:
    return PassSaving(size.head_bytes, size.tail_bytes, size.setup_bytes, name)
