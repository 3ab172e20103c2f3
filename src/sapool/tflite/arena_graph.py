"""What a micro-controller's interpreter runs, reduced to what its arena depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BYTES_OF: Mapping[str, int] = {
    "bool": 1,
    "int4": 1,  # the runtime unpacks it
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "resource": 0,  # a handle, which lies in its operator's own data
}


# The options that name the graphs a control-flow operator runs, in the order in which the runtime visits them.
CALLED: dict[str, tuple[str, ...]] = {
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
    "CALL_ONCE": ("initSubgraphIndex",),
    "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
}


@dataclass(frozen=True)
class ArenaTensor:
    """One tensor of the main graph.

    Attributes:
        name: its name in the file, or of the traced node that makes it.
        shape: channel-last, as the runtime holds it: (1, H, W, C).
        dtype: a key of :data:`BYTES_OF`.
        constant: stored in the file, so that it takes no room in the arena's head.
        variable: state that lives through every inference.
        channels: how many scales its quantisation has (1: per tensor, 0: not quantised).
        numbers: what a small constant of whole numbers holds (axes, a shape, a padding), where that is known.
        zeros: rows and columns of zeros at the end of a kernel, where that is known: they reach no pixel.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    constant: bool = False
    variable: bool = False
    channels: int = 1
    numbers: tuple[int, ...] = ()
    zeros: tuple[int, int] = (0, 0)

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * BYTES_OF[self.dtype]


@dataclass(frozen=True)
class ArenaOperator:
    """One operator; ``inputs`` and ``outputs`` are places in :attr:`ArenaGraph.tensors` (-1: an absent input).

    Attributes:
        kind: the builtin operator's name: ``CONV_2D``.
        inputs: what it reads, in the runtime's order.
        outputs: what it writes.
        options: what its scratch and persistent bytes depend on, by the schema's names (``adjY``, ``strideH``, ...).
        module: the PyTorch module it came from, or empty where that is not known.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""


@dataclass(frozen=True)
class ArenaGraph:
    """Operators in execution order, and the tensors between them.

    Attributes:
        tensors: all of them, constants too.
        operators: in execution order.
        inputs: places in ``tensors``.
        outputs: places in ``tensors``.
        subgraphs: the file's graphs 1, 2, ... that WHILE, IF and CALL_ONCE run (the main graph is 0).
        offline: an offset for each tensor of every graph in order, from the file's OfflineMemoryAllocation, -1 where
            the runtime plans; empty without.
    """

    tensors: tuple[ArenaTensor, ...]
    operators: tuple[ArenaOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: tuple[ArenaGraph, ...] = ()
    offline: tuple[int, ...] = ()

    @property
    def graphs(self) -> tuple[ArenaGraph, ...]:
        """All graphs in the file's order, this one first."""
        return (self, *self.subgraphs)


def called_graphs(operator: ArenaOperator) -> tuple[int, ...]:
    """Return the graphs that a control-flow operator runs; () for any other operator."""
    return tuple(int(operator.options[name]) for name in CALLED.get(operator.kind, ()))
