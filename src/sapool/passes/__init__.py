"""Rewrites of a network before it is converted, and of the file after: same outputs, smaller arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from sapool.passes.file.adjy_matmul import use_adjy_matmul
from sapool.passes.file.offline_plan import plan_offline
from sapool.passes.file.query_chunks import chunk_queries
from sapool.passes.file.reorder import reorder_operators
from sapool.passes.file.tidy import tidy_graph
from sapool.passes.file.tile_prefix import tile_prefix
from sapool.passes.network.affine_gate import use_affine_gate
from sapool.passes.network.cap_keys import cap_keys
from sapool.passes.network.constant_mask import spread_masks
from sapool.passes.network.constant_position import freeze_positions
from sapool.passes.network.fold_padding import fold_padding
from sapool.passes.network.fold_tiles import fold_tiles
from sapool.passes.network.lone_token import keep_lone_values
from sapool.passes.network.merged_attention import merge_attention
from sapool.passes.network.split_heads import split_heads
from sapool.passes.network.window_softmax import use_window_softmax
from sapool.tflite import Graph

# In the order they are applied. Each takes the network (changed in place) and images (N, C, H, W), and returns how
# many places it changed.
PASSES: dict[str, Callable[[nn.Module, Tensor], int]] = {
    "cap_keys": cap_keys,
    "fold_tiles": fold_tiles,
    "fold_padding": fold_padding,
    "affine_gate": use_affine_gate,
    "lone_token": keep_lone_values,
    "merged_attention": merge_attention,
    "split_heads": split_heads,
    "constant_position": freeze_positions,
    "constant_mask": spread_masks,
    "window_softmax": use_window_softmax,
}

# On the converted file: each takes its main graph (changed in place) and returns how many places it changed.
FILE_PASSES: dict[str, Callable[[Graph], int]] = {
    "adjy_matmul": use_adjy_matmul,
    "tidy": tidy_graph,
    # Both look ahead to what tiles will take away.
    "query_chunks": chunk_queries,
    "reorder": reorder_operators,
    "tile_prefix": tile_prefix,
    # Last: the plan is one of the tensors as they are then.
    "plan_offline": plan_offline,
}


# Those after which every layer is still one operator of the main graph.
FLAT_PASSES = ("adjy_matmul", "tidy")


def choose_passes(passes: str | Sequence[str], known: Sequence[str] = (*PASSES, *FILE_PASSES)) -> tuple[str, ...]:
    """Return the names that ``"all"``, ``"none"``, a comma-separated text or a sequence stands for, in order.

    Args:
        passes: what the user chose.
        known: all there are, in the order in which they are applied.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if passes == "all":
        return tuple(known)
    if passes == "none":
        return ()
    wanted = [name.strip() for name in passes.split(",")] if isinstance(passes, str) else list(passes)
    for name in wanted:
        if name not in known:
            raise ValueError(f"unknown pass {name!r}: choose from all, none, {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


def apply_passes(model: nn.Module, images: Tensor, passes: Sequence[str]) -> tuple[str, ...]:
    """Apply those of the named passes that work on a network, in place; returns those that changed something."""
    return tuple(name for name in passes if name in PASSES and PASSES[name](model, images))


def flattened(graph: Graph) -> Graph:
    """Return a graph tidied by the passes that keep every layer one operator: the same outputs to the bit."""
    tidied = graph.copy()
    apply_file_passes(tidied, FLAT_PASSES)
    return tidied


def apply_file_passes(graph: Graph, passes: Sequence[str]) -> tuple[str, ...]:
    """Apply those of the named passes that work on a file's graph, in place; returns those that changed something."""
    return tuple(name for name in passes if name in FILE_PASSES and FILE_PASSES[name](graph))
