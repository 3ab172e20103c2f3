"""Bytes of the arena's tail: what the runtime keeps for the model, its tensors and its operators.

The runtime hands the tail out downwards, each piece at an aligned address, so the sum depends on the order. The order
is that of tensorflow/tflite-micro's ``micro_allocator.cc`` and ``micro_interpreter.cc``; :mod:`sapool.memory.layouts`
has the sizes of its structs and where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sapool.memory.layouts import BENCHMARK_32, FIRMWARE_32, WHEEL, Layout, Piece
from sapool.memory.planners import ALIGNMENT
from sapool.memory.scratch import scratch_sizes
from sapool.tflite import Graph, Operator, Tensor

# While it sets a model up, for 8-byte and 4-byte pointers: a request for scratch, and a buffer's life.
_REQUEST, _LIFE = {8: 16, 4: 12}, {8: 32, 4: 24}
# The requests that are kept free for an operator's own, and the planner's lists of a buffer: integers only.
_FREE_REQUESTS, _PLAN = 12, 40
_INT32 = 4
_SOFTMAX_TABLE = 513 * 2  # of 16-bit entries

_Rule = Callable[[Layout, Graph, Operator], Iterable[int]]

# Kernels that keep nothing.
_NOTHING = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "BROADCAST_ARGS",
        "BROADCAST_TO",
        "CEIL",
        "COS",
        "DYNAMIC_UPDATE_SLICE",
        "EXP",
        "EXPAND_DIMS",
        "FILL",
        "FLOOR",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "LOG",
        "LOGICAL_AND",
        "LOGICAL_NOT",
        "LOGICAL_OR",
        "MAXIMUM",
        "MINIMUM",
        "NEG",
        "READ_VARIABLE",
        "REVERSE_V2",
        "ROUND",
        "SIN",
        "SLICE",
        "SQRT",
        "SQUARE",
        "TRANSPOSE",
        "ZEROS_LIKE",
    }
)


def unknown_kinds(graph: Graph) -> tuple[str, ...]:
    """Return the kinds of operators whose scratch and persistent bytes are not known here, and so are left out."""
    known = {*WHEEL.options, *WHEEL.data, *_PREPARED, *_NOTHING}
    return tuple(sorted({op.kind for one in graph.graphs for op in one.operators} - known))


def tail_bytes(graph: Graph, pointer_bytes: int = 8) -> int:
    """Return the bytes of the arena's tail.

    Args:
        graph: the model.
        pointer_bytes: 8 for the PyPI wheel; 4 for TensorFlow Lite Micro's benchmark program on a 32-bit core, a ceiling
            for firmware: it records every allocation and keeps room for 100 resource variables
            (:func:`firmware_tail_bytes` has neither).

    Raises:
        ValueError: another size of a pointer.
    """
    if pointer_bytes not in _LAYOUTS:
        raise ValueError(f"pointer_bytes must be 4 or 8, got {pointer_bytes}")
    return _tail(graph, _LAYOUTS[pointer_bytes])


def firmware_tail_bytes(graph: Graph) -> int:
    """Return the bytes of the tail in a firmware on a 32-bit core, on the runtime's reference kernels.

    Its interpreter is constructed from a model, operators and an arena: nothing is recorded, no resource variables but
    the model's own. Other snapshots of the runtime keep more: mcufit measured up to 1,384 bytes on a Nano 33 BLE.
    """
    return _tail(graph, FIRMWARE_32)


def _tail(graph: Graph, layout: Layout) -> int:
    address = 0  # the tail grows downwards from an aligned end
    for size, alignment in _pieces(graph, layout):
        address = (address - size) // alignment * alignment
    return -address


def setup_bytes(graph: Graph, pointer_bytes: int = 8, more_scratch: int = 0) -> int:
    """Return an upper bound of the head's room, in bytes, that the runtime needs before it has planned the head.

    First each kernel describes its inputs and outputs there, at most twice; then the planner keeps its lists there. A
    model of many small tensors needs more of it than its head has: an arena must hold the tail and the larger of both.

    Args:
        graph: the model.
        pointer_bytes: 8 for the PyPI wheel, 4 for a 32-bit core.
        more_scratch: scratch buffers that the kernels ask for beyond TFLM's reference kernels.
    """
    layout = _LAYOUTS[pointer_bytes]
    operators = [(one, operator) for one in graph.graphs for operator in one.operators]
    scratch = sum(len(scratch_sizes(one, operator)) for one, operator in operators) + more_scratch
    tensors = [tensor for one in graph.graphs for tensor in one.tensors]
    requests = _REQUEST[pointer_bytes] * (scratch + _FREE_REQUESTS)
    described = max((_temporary(one, operator, layout) for one, operator in operators), default=0)
    planned = scratch + sum(not tensor.constant and not tensor.variable for tensor in tensors)
    lists = pointer_bytes * len(graph.graphs) + _LIFE[pointer_bytes] * (len(tensors) + scratch) + _PLAN * planned
    return requests + max(described, lists) + 2 * ALIGNMENT


def _temporary(graph: Graph, operator: Operator, layout: Layout) -> int:
    used = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return 2 * sum(size + alignment for tensor in used for size, alignment in _described(tensor, layout))


def _pieces(graph: Graph, layout: Layout) -> Iterator[Piece]:
    """Yield every allocation in the runtime's order."""
    operators = [(one, operator) for one in graph.graphs for operator in one.operators]
    word = layout.pointer
    yield from ((size, word) for size in layout.runtime)
    named = {op.options.get("sharedName") for _, op in operators if op.kind == "VAR_HANDLE"}
    if resources := max(layout.resources, len(named)):
        yield layout.resource_list, ALIGNMENT
        yield layout.resource * resources, ALIGNMENT
    yield layout.options_allocator, word
    yield layout.subgraph * len(graph.graphs), word
    yield from ((layout.eval_tensor * len(one.tensors), word) for one in graph.graphs)
    yield from ((layout.node * len(one.operators), word) for one in graph.graphs)
    yield from (layout.options[op.kind] for _, op in operators if op.kind in layout.options)
    yield from ((layout.data[op.kind], ALIGNMENT) for _, op in operators if op.kind in layout.data)
    yield from ((size, ALIGNMENT) for size in _prepared(operators, layout))
    yield from _after_preparing(graph, sum(len(scratch_sizes(one, operator)) for one, operator in operators), layout)


def _prepared(operators: Sequence[tuple[Graph, Operator]], layout: Layout) -> Iterator[int]:
    """Yield what the kernels take while they are prepared; a resource variable's bytes come with its first ASSIGN."""
    assigned = set()
    for graph, operator in operators:
        if operator.kind == "ASSIGN_VARIABLE":
            handle, value = operator.inputs
            makers = (op for op in graph.operators if op.kind == "VAR_HANDLE" and handle in op.outputs)
            name = next((op.options.get("sharedName") for op in makers), None)
            if name not in assigned:
                assigned.add(name)
                yield graph.tensors[value].bytes
        elif operator.kind in _PREPARED:
            yield from _PREPARED[operator.kind](layout, graph, operator)


def _after_preparing(graph: Graph, scratch_buffers: int, layout: Layout) -> Iterator[Piece]:
    """Yield what comes once every operator is prepared: handles of scratch, variables, the inputs and outputs."""
    if scratch_buffers:
        yield layout.pointer * scratch_buffers, layout.pointer
    for one in graph.graphs:
        yield from ((tensor.bytes, ALIGNMENT) for tensor in one.tensors if tensor.variable)
    for side in (graph.inputs, graph.outputs):
        yield layout.pointer * len(side), ALIGNMENT
        for tensor in side:
            yield from _described(graph.tensors[tensor], layout)


def _described(tensor: Tensor, layout: Layout) -> Iterator[Piece]:
    """Yield the whole TfLiteTensor that the runtime keeps of an input or output."""
    yield layout.tensor, layout.pointer
    if tensor.channels:
        yield layout.quantisation, layout.pointer
        yield _int_array(tensor.channels), _INT32


def _int_array(length: int) -> int:
    """Return the bytes of a TfLiteIntArray: its length, then its numbers."""
    return _INT32 * (1 + length)


def _input(graph: Graph, operator: Operator, place: int) -> Tensor:
    return graph.tensors[operator.inputs[place]]


def _own_shape(_: Layout, graph: Graph, operator: Operator) -> tuple[int, ...]:
    """A copy of the output's shape that the kernel may write."""
    return (_int_array(len(graph.tensors[operator.outputs[0]].shape)),)


def _multipliers(channel_side: int) -> _Rule:
    """A multiplier and a shift for each output channel, for unquantised weights too."""

    def sizes(_: Layout, graph: Graph, operator: Operator) -> tuple[int, ...]:
        return (_INT32 * _input(graph, operator, 1).shape[channel_side],) * 2

    return sizes


def _fully_connected(_: Layout, graph: Graph, operator: Operator) -> tuple[int, ...]:
    weights = _input(graph, operator, 1)
    return (_INT32 * weights.shape[0],) * 2 if weights.channels > 1 else ()


def _batch_matmul(layout: Layout, graph: Graph, operator: Operator) -> Iterable[int]:
    """A transposed copy of either side unless it lies right; the right side's lies right where adjY is set."""
    left, right = _input(graph, operator, 0), _input(graph, operator, 1)
    if left.dtype in ("int8", "int16"):
        yield 28  # how it is quantised
    if operator.options.flag("adjX"):
        yield from (layout.eval_tensor, _int_array(len(left.shape)), left.bytes)
    if not operator.options.flag("adjY"):
        yield from (layout.eval_tensor, _int_array(len(right.shape)), right.bytes)
    yield from _own_shape(layout, graph, operator)


def _softmax(_: Layout, graph: Graph, operator: Operator) -> tuple[int, ...]:
    return (_SOFTMAX_TABLE,) * 2 if _input(graph, operator, 0).dtype == "int16" else ()


def _if_int8(size: int) -> _Rule:
    """The kernel's data where its input is int8, nothing otherwise."""
    return lambda _, graph, operator: (size,) if _input(graph, operator, 0).dtype == "int8" else ()


def _log_softmax(layout: Layout, graph: Graph, operator: Operator) -> Iterable[int]:
    return _if_int8(layout.log_softmax)(layout, graph, operator)


# What a kernel takes while it is prepared, each piece aligned to 16 bytes.
_PREPARED: Mapping[str, _Rule] = {
    "ADD_N": _if_int8(40),
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _multipliers(0),
    "CUMSUM": _if_int8(36),
    "DEPTH_TO_SPACE": _own_shape,
    "DEPTHWISE_CONV_2D": _multipliers(3),
    "EMBEDDING_LOOKUP": lambda layout, graph, operator: (*_own_shape(layout, graph, operator), 16),
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _own_shape,
    "GATHER_ND": _own_shape,
    "L2_POOL_2D": _own_shape,
    "LOG_SOFTMAX": _log_softmax,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _own_shape,
    "TRANSPOSE_CONV": _multipliers(0),
}

_LAYOUTS: Mapping[int, Layout] = {layout.pointer: layout for layout in (WHEEL, BENCHMARK_32)}
