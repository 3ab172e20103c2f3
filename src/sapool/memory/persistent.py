"""Bytes of the arena's tail: what the runtime keeps for the model, its tensors and its operators.

The runtime hands the tail out downwards, each piece at an aligned address, so the sum depends on the order. The order
is that of tensorflow/tflite-micro's ``micro_allocator.cc`` and ``micro_interpreter.cc``. The sizes of its structs were
read off a run of the PyPI wheel (tflite-micro 0.dev20261023, x86-64) in a debugger that stopped at every allocation of
one-operator models; nothing here is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sapool.memory.arena_graph import ArenaGraph, ArenaOperator, ArenaTensor
from sapool.memory.planners import ALIGNMENT
from sapool.memory.scratch import scratch_sizes

# The recording allocator, the planner and the allocator of models; then, once a model comes, that of options.
_RUNTIME = ((104, 8), (72, 8), (272, 8))
_OPTIONS_ALLOCATOR = (16, 8)
_VARIABLES, _VARIABLE = 16, 40  # the list of resource variables, and one of them
_SUBGRAPH, _EVAL_TENSOR, _NODE, _HANDLE, _TENSOR, _QUANTISATION, _POINTER = 24, 24, 64, 8, 64, 24, 8
# How much smaller TfLiteEvalTensor and NodeAndRegistration are where a pointer has 4 bytes.
_LESS_PER_TENSOR, _LESS_PER_OPERATOR = 12, 32
# While it sets a model up: a request for scratch, the slots kept free for an operator's own, a buffer's life and plan.
_REQUEST, _FREE_REQUESTS, _LIFE, _PLAN = 16, 12, 32, 40
_INT32 = 4
_SOFTMAX_TABLE = 513 * 2  # of 16-bit entries

# A piece of the tail: its size and its alignment.
_Piece = tuple[int, int]

# What each operator's options become (size, alignment), and the bytes of its kernel's own data; None: it has none.
_OPTIONS: Mapping[str, _Piece] = {
    "ADD": (8, 4),
    "ARG_MAX": (4, 4),
    "ARG_MIN": (4, 4),
    "AVERAGE_POOL_2D": (40, 4),
    "BATCH_MATMUL": (3, 1),
    "CALL_ONCE": (4, 4),
    "CAST": (8, 4),
    "CONCATENATION": (8, 4),
    "CONV_2D": (28, 4),
    "CUMSUM": (2, 1),
    "DEPTH_TO_SPACE": (4, 4),
    "DEPTHWISE_CONV_2D": (28, 4),
    "DIV": (4, 4),
    "FULLY_CONNECTED": (32, 8),
    "GATHER": (8, 4),
    "IF": (8, 4),
    "L2_NORMALIZATION": (4, 4),
    "L2_POOL_2D": (40, 4),
    "LEAKY_RELU": (4, 4),
    "MAX_POOL_2D": (40, 4),
    "MEAN": (1, 1),
    "MIRROR_PAD": (4, 4),
    "MUL": (4, 4),
    "PACK": (8, 4),
    "REDUCE_ALL": (1, 1),
    "REDUCE_MAX": (1, 1),
    "REDUCE_MIN": (1, 1),
    "RESHAPE": (36, 4),
    "RESIZE_BILINEAR": (2, 1),
    "RESIZE_NEAREST_NEIGHBOR": (2, 1),
    "SHAPE": (4, 4),
    "SOFTMAX": (4, 4),
    "SPACE_TO_DEPTH": (4, 4),
    "SPLIT": (4, 4),
    "SPLIT_V": (4, 4),
    "SQUEEZE": (36, 4),
    "STRIDED_SLICE": (24, 4),
    "SUB": (8, 4),
    "SUM": (1, 1),
    "SVDF": (12, 4),
    "TRANSPOSE_CONV": (20, 4),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (16, 4),
    "UNPACK": (8, 4),
    "VAR_HANDLE": (16, 8),
    "WHILE": (8, 4),
}
_DATA: Mapping[str, int] = {
    "ABS": 28,
    "ADD": 60,
    "ASSIGN_VARIABLE": 4,
    "AVERAGE_POOL_2D": 32,
    "BATCH_MATMUL": 32,
    "CALL_ONCE": 8,
    "CONCATENATION": 80,
    "CONV_2D": 80,
    "DEPTHWISE_CONV_2D": 80,
    "DEQUANTIZE": 32,
    "DIV": 28,
    "ELU": 256,
    "EQUAL": 32,
    "FULLY_CONNECTED": 72,
    "GREATER": 32,
    "GREATER_EQUAL": 32,
    "HARD_SWISH": 20,
    "IF": 8,
    "L2_NORMALIZATION": 4,
    "LEAKY_RELU": 24,
    "LESS": 32,
    "LESS_EQUAL": 32,
    "LOGISTIC": 16,
    "MAX_POOL_2D": 32,
    "MEAN": 44,
    "MIRROR_PAD": 20,
    "MUL": 36,
    "NOT_EQUAL": 32,
    "PAD": 56,
    "PADV2": 56,
    "PRELU": 28,
    "QUANTIZE": 32,
    "REDUCE_ALL": 44,
    "REDUCE_MAX": 44,
    "REDUCE_MIN": 44,
    "RELU": 28,
    "RELU6": 8,
    "RSQRT": 28,
    "SELECT_V2": 1,
    "SOFTMAX": 80,
    "SPACE_TO_BATCH_ND": 4,
    "SQUARED_DIFFERENCE": 112,
    "STRIDED_SLICE": 84,
    "SUB": 52,
    "SUM": 44,
    "SVDF": 36,
    "TANH": 16,
    "TRANSPOSE_CONV": 88,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 688,
    "VAR_HANDLE": 4,
    "WHILE": 8,
}
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


def unknown_kinds(graph: ArenaGraph) -> tuple[str, ...]:
    """Return the kinds of operators whose scratch and persistent bytes are not known here, and so are left out."""
    known = {*_OPTIONS, *_DATA, *_PREPARED, *_NOTHING}
    return tuple(sorted({op.kind for one in graph.graphs for op in one.operators} - known))


def tail_bytes(graph: ArenaGraph, pointer_bytes: int = 8) -> int:
    """Return the bytes of the arena's tail.

    Args:
        graph: the model.
        pointer_bytes: 8 for the PyPI wheel; 4 for a 32-bit micro-controller, where each tensor takes 12 bytes less and
            each operator 32.

    Raises:
        ValueError: another size of a pointer.
    """
    if pointer_bytes not in (4, 8):
        raise ValueError(f"pointer_bytes must be 4 or 8, got {pointer_bytes}")
    address = 0  # the tail grows downwards from an aligned end
    for size, alignment in _pieces(graph):
        address = (address - size) // alignment * alignment
    if pointer_bytes == 8:
        return -address
    tensors = sum(len(one.tensors) for one in graph.graphs)
    operators = sum(len(one.operators) for one in graph.graphs)
    return -address - _LESS_PER_TENSOR * tensors - _LESS_PER_OPERATOR * operators


def setup_bytes(graph: ArenaGraph) -> int:
    """Return an upper bound of the head's room, in bytes, that the runtime needs before it has planned the head.

    First each kernel describes its inputs and outputs there, at most twice; then the planner keeps its lists there. A
    model of many small tensors needs more of it than its head has: an arena must hold the tail and the larger of both.
    """
    operators = [(one, operator) for one in graph.graphs for operator in one.operators]
    scratch = sum(len(scratch_sizes(one, operator)) for one, operator in operators)
    tensors = [tensor for one in graph.graphs for tensor in one.tensors]
    requests = _REQUEST * (scratch + _FREE_REQUESTS)
    described = max((_temporary(one, operator) for one, operator in operators), default=0)
    planned = scratch + sum(not tensor.constant and not tensor.variable for tensor in tensors)
    lists = _POINTER * len(graph.graphs) + _LIFE * (len(tensors) + scratch) + _PLAN * planned
    return requests + max(described, lists) + 2 * ALIGNMENT


def _temporary(graph: ArenaGraph, operator: ArenaOperator) -> int:
    used = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return 2 * sum(size + alignment for tensor in used for size, alignment in _described(tensor))


def _pieces(graph: ArenaGraph) -> Iterator[_Piece]:
    """Yield every allocation in the runtime's order."""
    operators = [(one, operator) for one in graph.graphs for operator in one.operators]
    yield from _RUNTIME
    if variables := {op.options.get("sharedName") for _, op in operators if op.kind == "VAR_HANDLE"}:
        yield _VARIABLES, ALIGNMENT
        yield _VARIABLE * len(variables), ALIGNMENT
    yield _OPTIONS_ALLOCATOR
    yield _SUBGRAPH * len(graph.graphs), 8
    yield from ((_EVAL_TENSOR * len(one.tensors), 8) for one in graph.graphs)
    yield from ((_NODE * len(one.operators), 8) for one in graph.graphs)
    yield from (_OPTIONS[op.kind] for _, op in operators if op.kind in _OPTIONS)
    yield from ((_DATA[op.kind], ALIGNMENT) for _, op in operators if op.kind in _DATA)
    yield from ((size, ALIGNMENT) for size in _prepared(operators))
    yield from _after_preparing(graph, sum(len(scratch_sizes(one, operator)) for one, operator in operators))


def _prepared(operators: Sequence[tuple[ArenaGraph, ArenaOperator]]) -> Iterator[int]:
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
            yield from _PREPARED[operator.kind](graph, operator)


def _after_preparing(graph: ArenaGraph, scratch_buffers: int) -> Iterator[_Piece]:
    """Yield what comes once every operator is prepared: handles of scratch, variables, the inputs and outputs."""
    if scratch_buffers:
        yield _HANDLE * scratch_buffers, 8
    for one in graph.graphs:
        yield from ((tensor.bytes, ALIGNMENT) for tensor in one.tensors if tensor.variable)
    for side in (graph.inputs, graph.outputs):
        yield _POINTER * len(side), ALIGNMENT
        for tensor in side:
            yield from _described(graph.tensors[tensor])


def _described(tensor: ArenaTensor) -> Iterator[_Piece]:
    """Yield the whole TfLiteTensor that the runtime keeps of an input or output."""
    yield _TENSOR, 8
    if tensor.channels:
        yield _QUANTISATION, 8
        yield _int_array(tensor.channels), _INT32


def _int_array(length: int) -> int:
    """Return the bytes of a TfLiteIntArray: its length, then its numbers."""
    return _INT32 * (1 + length)


def _input(graph: ArenaGraph, operator: ArenaOperator, place: int) -> ArenaTensor:
    return graph.tensors[operator.inputs[place]]


def _own_shape(graph: ArenaGraph, operator: ArenaOperator) -> tuple[int, ...]:
    """A copy of the output's shape that the kernel may write."""
    return (_int_array(len(graph.tensors[operator.outputs[0]].shape)),)


def _multipliers(channel_side: int) -> Callable[[ArenaGraph, ArenaOperator], tuple[int, ...]]:
    """A multiplier and a shift for each output channel, for unquantised weights too."""

    def sizes(graph: ArenaGraph, operator: ArenaOperator) -> tuple[int, ...]:
        return (_INT32 * _input(graph, operator, 1).shape[channel_side],) * 2

    return sizes


def _fully_connected(graph: ArenaGraph, operator: ArenaOperator) -> tuple[int, ...]:
    weights = _input(graph, operator, 1)
    return (_INT32 * weights.shape[0],) * 2 if weights.channels > 1 else ()


def _batch_matmul(graph: ArenaGraph, operator: ArenaOperator) -> Iterable[int]:
    """A transposed copy of either side unless it lies right; the right side's lies right where adjY is set."""
    left, right = _input(graph, operator, 0), _input(graph, operator, 1)
    if left.dtype in ("int8", "int16"):
        yield 28  # how it is quantised
    if operator.options.get("adjX"):
        yield from (_EVAL_TENSOR, _int_array(len(left.shape)), left.bytes)
    if not operator.options.get("adjY"):
        yield from (_EVAL_TENSOR, _int_array(len(right.shape)), right.bytes)
    yield from _own_shape(graph, operator)


def _softmax(graph: ArenaGraph, operator: ArenaOperator) -> tuple[int, ...]:
    return (_SOFTMAX_TABLE,) * 2 if _input(graph, operator, 0).dtype == "int16" else ()


def _if_int8(size: int) -> Callable[[ArenaGraph, ArenaOperator], tuple[int, ...]]:
    """The kernel's data where its input is int8, nothing otherwise."""
    return lambda graph, operator: (size,) if _input(graph, operator, 0).dtype == "int8" else ()


# What a kernel takes while it is prepared, each piece aligned to 16 bytes.
_PREPARED: Mapping[str, Callable[[ArenaGraph, ArenaOperator], Iterable[int]]] = {
    "ADD_N": _if_int8(40),
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _multipliers(0),
    "CUMSUM": _if_int8(36),
    "DEPTH_TO_SPACE": _own_shape,
    "DEPTHWISE_CONV_2D": _multipliers(3),
    "EMBEDDING_LOOKUP": lambda graph, operator: (*_own_shape(graph, operator), 16),
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _own_shape,
    "GATHER_ND": _own_shape,
    "L2_POOL_2D": _own_shape,
    "LOG_SOFTMAX": _if_int8(40),
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _own_shape,
    "TRANSPOSE_CONV": _multipliers(0),
}
