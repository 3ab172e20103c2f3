"""What a network is to the C engine: stores of rows, and steps that make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError
from sapool.tflite.graph import Tensor


class UnsupportedError(SapoolError, ValueError):
    """The C engine can't make a network; the message names the operator and its place."""


@dataclass(frozen=True, eq=False)
class Blob:
    """An array of a network's constants in flash.

    Attributes:
        ctype: of one value; ``sapool_channel`` for rows of three.
        values: (n,), or (n, fields) for a struct.
        label: what it holds, for a reader of the generated code.
    """

    ctype: str
    values: NDArray[np.generic]
    label: str = "constants"


# A number of the kernel's struct, an array of it, or an absent one.
Field = int | Blob | None


@dataclass(frozen=True)
class Layer:
    """The struct of one layer, ``sapool_conv`` say, with its members in order."""

    struct: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Store:
    """Rows of a tensor, of which as many exist at a time as the schedule needs.

    Attributes:
        tensor: what it holds.
        rows: of the whole tensor.
        row_bytes: of one row.
    """

    tensor: Tensor
    rows: int
    row_bytes: int

    @property
    def bytes(self) -> int:
        """Of the whole tensor."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Read:
    """Which rows of a store every task of a step needs: ``low[t] <= row < high[t]``.

    Attributes:
        store: place among the stores; -1 for a constant.
        low: first row, a task.
        high: behind the last row, a task; equal to ``low`` where a task needs none.
        flat: the step takes the tensor in one piece, or cuts it in other rows than its maker: no ring.
        rows: how many rows the step cuts it in.
        row_bytes: of one of those.
        constant: its values where it is one.
    """

    store: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    rows: int
    row_bytes: int
    flat: bool = False
    constant: Blob | None = None

    @property
    def whole(self) -> bool:
        """Whether the first task needs all rows."""
        return bool(self.high) and self.low[0] == 0 and self.high[0] == max(self.high) and self.high[0] > 1


@dataclass(frozen=True)
class Window:
    """Task t reads rows t * stride + i * dilation - top for i < taps."""

    taps: int = 1
    stride: int = 1
    dilation: int = 1
    top: int = 0


@dataclass(frozen=True)
class Step:
    """A row function: its tasks run in order, each once.

    Attributes:
        kind: which kernel, a key of :data:`sapool.firmware.emit_steps.KERNELS`.
        operator: the operator's kind in the file.
        module: where it came from.
        reads: its inputs.
        output: place among the stores.
        made: rows of the output that are whole after every task.
        layer: makes the struct in flash; only called when code is written.
        window: how tasks move over the first input.
        scratch: bytes that a task needs while it runs.
        state: bytes that live from the first task to the last.
        macs: multiply-accumulates of one task.
        tiles: how much its kernel may do at once, and the scratch that takes; the first is in use. The last field of
            its layer.
        in_place: which reads may share their bytes with the output, row by row.
    """

    kind: str
    operator: str
    module: str
    reads: tuple[Read, ...]
    output: int
    made: tuple[int, ...]
    layer: Callable[[], Layer]
    window: Window = Window()
    scratch: int = 0
    state: int = 0
    macs: int = 0
    in_place: tuple[int, ...] = ()
    tiles: tuple[tuple[int, int], ...] = ()

    def with_smaller_tile(self) -> Step | None:
        """Return the step with less scratch; None where it has no smaller tile."""
        if len(self.tiles) < 2:
            return None
        return replace(self, tiles=self.tiles[1:], scratch=self.tiles[1][1])

    @property
    def tasks(self) -> int:
        """How often it runs for one image."""
        return len(self.made)


@dataclass
class Program:
    """All steps of a network, makers before readers.

    Attributes:
        stores: of every tensor that exists.
        steps: in the file's order.
        source: the store of the image.
        outputs: the stores of the results.
    """

    stores: list[Store] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    source: int = 0
    outputs: tuple[int, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(step.macs * step.tasks for step in self.steps)
