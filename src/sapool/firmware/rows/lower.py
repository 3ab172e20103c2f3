"""Which operators become steps: the walk over a graph."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace

from sapool.firmware.rows.parts import Blob, Layer, Program, Read, Step, Store, UnsupportedError, Window
from sapool.tflite.graph import Graph, Operator, Tensor

# Task t reads row t.
ONE_ROW = Window()
# Other views of the same bytes.
VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})


class Lowering:
    """A graph on its way to a :class:`Program`.

    Attributes:
        graph: as read.
        core: the core that kernels' scratch is for.
        program: what was made so far.
    """

    def __init__(self, graph: Graph, core: str) -> None:
        self.graph, self.core, self.program = graph, core, Program()
        self._stores: dict[int, int] = {}
        self._root: dict[int, int] = {}
        for op in graph.operators:
            if is_view(graph, op):
                self._root[op.outputs[0]] = self.root(op.inputs[0])

    def tensor(self, place: int) -> Tensor:
        """Return a tensor of the graph."""
        return self.graph.tensors[place]

    def root(self, tensor: int) -> int:
        """Return the tensor whose bytes a view shows; any other tensor is its own."""
        return self._root.get(tensor, tensor)

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor, or what it is a view of, has constant values."""
        return self.graph.is_constant(self.root(tensor))

    def store(self, tensor: int) -> int:
        """Return the store of a tensor, or of what it is a view of."""
        return self._stores[self.root(tensor)]

    def add_store(self, tensor: int, rows: int) -> int:
        """Make the store of a tensor that a step is about to make."""
        held = self.tensor(tensor)
        self.program.stores.append(Store(held, rows, held.bytes // rows))
        self._stores[tensor] = len(self.program.stores) - 1
        return self._stores[tensor]

    def rows_of(self, tensor: int) -> int:
        """Return in how many rows a computed tensor's maker cuts it."""
        return self.program.stores[self.store(tensor)].rows

    # --- reads -------------------------------------------------------------------------------------------------------

    def read_rows(self, tensor: int, rows: int, tasks: int, window: Window = ONE_ROW) -> Read:
        """Return the read of a window of rows for every task; ``rows`` is how many the step cuts the tensor in."""
        starts = [task * window.stride - window.top for task in range(tasks)]
        span = (window.taps - 1) * window.dilation + 1
        low = [min(max(start, 0), rows) for start in starts]
        high = [max(min(start + span, rows), 0) for start in starts]
        return self.read_listed(tensor, rows, low, [max(a, b) for a, b in zip(low, high, strict=True)])

    def read_all(self, tensor: int, tasks: int) -> Read:
        """Return the read of the whole tensor by every task, in one piece."""
        held = self.tensor(tensor)
        if self.is_constant(tensor):
            return Read(-1, (), (), 1, held.bytes, constant=self.blob(tensor))
        store = self.store(tensor)
        rows = self.program.stores[store].rows
        return Read(store, (0,) * tasks, (rows,) * tasks, 1, held.bytes, flat=True)

    def read_listed(self, tensor: int, rows: int, low: list[int], high: list[int]) -> Read:
        """Return the read of rows ``low[t]`` to ``high[t]`` (not included) for task t."""
        store = self.store(tensor)
        made = self.program.stores[store]
        row_bytes = made.bytes // rows
        if made.rows == rows:
            return Read(store, tuple(low), tuple(high), rows, row_bytes)
        first = tuple(at * row_bytes // made.row_bytes for at in low)
        last = tuple(-(-at * row_bytes // made.row_bytes) for at in high)
        return Read(store, first, last, rows, row_bytes, flat=True)

    def blob(self, tensor: int) -> Blob:
        """Return the int8 values of a constant."""
        held = self.tensor(self.root(tensor))
        if held.constant is None:
            raise ValueError(f"tensor {held.name} is no constant")
        return Blob("int8_t", held.constant.raw.view("int8"), held.name)

    # --- steps -------------------------------------------------------------------------------------------------------

    def add_step(
        self,
        op: Operator,
        kind: str,
        reads: tuple[Read, ...],
        rows: int,
        layer: Callable[[], Layer],
        *,
        output: int | None = None,
        made: tuple[int, ...] | None = None,
        window: Window = ONE_ROW,
        state: int = 0,
        macs: int = 0,
        in_place: tuple[int, ...] = (),
        tiles: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Add the step that makes an operator's (first) output in ``rows`` rows; by default one a task."""
        store = self.add_store(op.outputs[0] if output is None else output, rows)
        done = tuple(range(1, rows + 1)) if made is None else made
        each = macs // len(done)
        scratch = tiles[0][1] if tiles else 0
        step = Step(kind, op.kind, op.module, reads, store, done, layer, window, scratch, state, each, in_place)
        self.program.steps.append(replace(step, tiles=tiles))


def is_view(graph: Graph, op: Operator) -> bool:
    """Whether an operator only gives the same bytes another shape."""
    if op.kind in VIEWS:
        return True
    if op.kind != "TRANSPOSE":
        return False
    shape, order = graph.tensors[op.inputs[0]].shape, graph.tensors[op.inputs[1]].integers
    moved = [axis for axis in order if shape[axis] > 1]
    return bool(order) and moved == sorted(moved)


def natural_rows(shape: tuple[int, ...]) -> int:
    """Return in how many rows a tensor of this shape is cut: rows of a map, else lines along the last axis."""
    if len(shape) == 4 and shape[0] == 1:
        return shape[1]
    return math.prod(shape[:-1])


Lower = Callable[[Lowering, Operator], None]
Look = Callable[[Lowering, Operator], tuple[int, ...]]


def sources(state: Lowering, op: Operator) -> tuple[int, ...]:
    """Return the computed tensors that an operator reads, or that it reads through what melts into it."""
    from sapool.firmware.rows.registry import LOOKS

    look = LOOKS.get(op.kind)
    seen = look(state, op) if look is not None else op.inputs
    return tuple(state.root(t) for t in seen if t >= 0 and not state.is_constant(t))


def lower(graph: Graph, core: str = "cortex-m4") -> Program:
    """Return the steps of a graph.

    Raises:
        UnsupportedError: an operator, a type or a shape that the C engine does not have.
    """
    from sapool.firmware.rows.fold import fold_constants
    from sapool.firmware.rows.registry import LOWERED

    graph = fold_constants(graph, core)
    state = Lowering(graph, core)
    check(graph, LOWERED)
    needed = {state.root(t) for t in graph.outputs}
    chosen: list[Operator] = []
    for op in reversed(graph.operators):
        if not is_view(graph, op) and needed.intersection(op.outputs):
            needed.update(sources(state, op))
            chosen.append(op)
    source = graph.inputs[0]
    state.program.source = state.add_store(source, natural_rows(graph.tensors[source].shape))
    for op in reversed(chosen):
        try:
            LOWERED[op.kind](state, op)
        except UnsupportedError as error:
            raise UnsupportedError(f"{place_of(graph, op)}: {error}; TFLM still runs the file") from error
    state.program.outputs = tuple(state.store(t) for t in graph.outputs)
    drop_unneeded(state.program)
    return state.program


def drop_unneeded(program: Program) -> None:
    """Drop the tasks at the end of every step that make rows which nothing reads."""
    needed = [0] * len(program.stores)
    for output in program.outputs:
        needed[output] = program.stores[output].rows
    for n in reversed(range(len(program.steps))):
        step = program.steps[n]
        count = bisect_left(step.made, max(needed[step.output], 1)) + 1
        if count < step.tasks:
            reads = tuple(replace(read, low=read.low[:count], high=read.high[:count]) for read in step.reads)
            step = program.steps[n] = replace(step, made=step.made[:count], reads=reads)
            program.stores[step.output] = replace(program.stores[step.output], rows=step.made[-1])
        for read in step.reads:
            if read.store >= 0:
                pairs = zip(read.low, read.high, strict=True)
                needed[read.store] = max(needed[read.store], *(high for low, high in pairs if high > low), 0)


def check(graph: Graph, known: Mapping[str, Lower]) -> None:
    """Raise for a graph that no step can be made of."""
    if len(graph.inputs) != 1:
        raise UnsupportedError(f"the C engine streams one input, the file has {len(graph.inputs)}; TFLM still runs it")
    for op in graph.operators:
        if op.called:
            raise UnsupportedError(
                f"{place_of(graph, op)}: the C engine has no loops or branches; TFLM still runs the file. One that "
                "sapool export wrote has its C files beside it"
            )
    for op in graph.operators:
        if op.kind not in known and op.kind not in VIEWS:
            raise UnsupportedError(
                f"{place_of(graph, op)}: the C engine has no such operator; TFLM still runs the file"
            )


def place_of(graph: Graph, op: Operator) -> str:
    """Return "operator 3 (CONV_2D) of stem.conv"."""
    place = next((n for n, other in enumerate(graph.operators) if other is op), -1)
    return f"operator {place} ({op.kind})" + (f" of {op.module}" if op.module else "")
