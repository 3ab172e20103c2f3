"""What each kind of operator must have for its kernel, and for what reads it here, to make sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sapool.tflite.graph import Graph, Operator
from sapool.tflite.options import TABLES, window_options
from sapool.tflite.tensor import Tensor

_Rule = Callable[[Graph, Operator], str]
Shape = tuple[int, ...]

_UNARY = frozenset(
    (
        *("ABS", "CAST", "CEIL", "COS", "CUMSUM", "DEPTH_TO_SPACE", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "HARD_SWISH"),
        *("L2_NORMALIZATION", "LEAKY_RELU", "LOG", "LOGICAL_NOT", "LOGISTIC", "LOG_SOFTMAX", "NEG", "QUANTIZE"),
        *("RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "ROUND", "RSQRT", "SHAPE", "SIN", "SOFTMAX", "SPACE_TO_DEPTH"),
        *("SQRT", "SQUARE", "SQUEEZE", "TANH", "UNPACK", "ZEROS_LIKE", "PACK", "CONCATENATION", "ADD_N"),
        *("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"),
    )
)
_BINARY = frozenset(
    (
        *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU", "FLOOR_DIV", "FLOOR_MOD"),
        *("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_OR"),
        *("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_PROD", "ARG_MAX", "ARG_MIN"),
        *("TRANSPOSE", "PAD", "EXPAND_DIMS", "GATHER", "GATHER_ND", "FILL", "SPLIT", "BATCH_MATMUL", "MIRROR_PAD"),
        *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP", "RESIZE_BILINEAR", "BROADCAST_TO"),
        *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2"),
    )
)
_INPUTS: Mapping[str, int] = {
    **dict.fromkeys(_UNARY, 1),
    **dict.fromkeys(_BINARY, 2),
    **dict.fromkeys(("ASSIGN_VARIABLE",), 2),
    **dict.fromkeys(("READ_VARIABLE", "IF"), 1),
    **dict.fromkeys(("PADV2", "SLICE", "SPLIT_V", "TRANSPOSE_CONV", "DYNAMIC_UPDATE_SLICE", "SELECT_V2", "SVDF"), 3),
    "STRIDED_SLICE": 4,
}
_WITHOUT_OUTPUT = frozenset({"ASSIGN_VARIABLE", "IF", "WHILE", "CALL_ONCE"})
# Their options decide what they compute or need: there must be some.
_OPTIONED = frozenset(
    (
        *("AVERAGE_POOL_2D", "BATCH_MATMUL", "CALL_ONCE", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "IF"),
        *("L2_POOL_2D", "MAX_POOL_2D", "SPLIT", "SVDF", "TRANSPOSE_CONV", "WHILE"),
    )
)


def broken_rule(graphs: Sequence[Graph], graph: Graph, operator: Operator) -> str:
    """Return the rule that an operator breaks; empty where it breaks none, or its kind is not known here."""
    if operator.custom:
        return ""
    kind, options = operator.kind, operator.options
    table = TABLES.get(kind, "")
    if (options.table or kind in _OPTIONED) and table and options.table != table:
        return f"its options must be {table}, got {options.table or 'none'}"
    given = sum(tensor >= 0 for tensor in operator.inputs[: _INPUTS.get(kind, 0)])
    if given < _INPUTS.get(kind, 0):
        return f"it must have {_INPUTS[kind]} inputs, got {given}"
    if not operator.outputs and (kind in _INPUTS or kind == "VAR_HANDLE") and kind not in _WITHOUT_OUTPUT:
        return "it must make something"
    if kind == "WHILE":
        return _while(graphs, operator)
    rule = _RULES.get(kind)
    return "" if rule is None else rule(graph, operator)


def _tensors(graph: Graph, places: Sequence[int]) -> list[Tensor]:
    return [graph.tensors[place] for place in places if place >= 0]


def _ranks(wanted: int, *tensors: Tensor) -> str:
    for tensor in tensors:
        if len(tensor.shape) != wanted or 0 in tensor.shape:
            return f"{tensor.name} must have {wanted} sides of at least 1, got {tensor.shape}"
    return ""


def _while(graphs: Sequence[Graph], operator: Operator) -> str:
    condition, body = (graphs[place] for place in operator.called)
    carried = len(operator.inputs)
    sides = {"outputs": len(operator.outputs), "inputs of its condition": len(condition.inputs)}
    sides |= {"inputs of its body": len(body.inputs), "outputs of its body": len(body.outputs)}
    for side, count in sides.items():
        if count != carried:
            return f"it must have as many {side} as inputs, {carried}, got {count}"
    return "" if condition.outputs else "its condition must have an output"


def _windows(graph: Graph, operator: Operator, kernel: tuple[int, int]) -> str:
    """Check that strides and the output's rows and columns fit a sliding window."""
    moves = window_options(operator.options)
    if min(*moves.stride, *moves.dilation, *kernel) < 1:
        return f"strides, dilations and windows must be at least 1, got {moves.stride}, {moves.dilation}, {kernel}"
    taken, made = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    for axis in (0, 1):
        size, stride = taken[1 + axis], moves.stride[axis]
        reach = moves.dilation[axis] * (kernel[axis] - 1) + 1
        wanted = -(-size // stride) if moves.same else (size - reach) // stride + 1
        if made[1 + axis] != wanted:
            return f"a window over {size} makes {wanted}, its output has {made[1 + axis]}"
    return "" if taken[0] == made[0] else f"its input has {taken[0]} images, its output {made[0]}"


def _convolution(graph: Graph, operator: Operator) -> str:
    taken, weights = (graph.tensors[place] for place in operator.inputs[:2])
    made = graph.tensors[operator.outputs[0]]
    if broken := _ranks(4, taken, weights, made):
        return broken
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    channels = weights.shape[3 if depthwise else 0]
    bias = _tensors(graph, operator.inputs[2:3])
    if made.shape[3] != channels or any(one.elements != channels for one in bias):
        return f"its weights make {channels} channels, its output has {made.shape[3]}"
    multiple = channels % taken.shape[3] if depthwise else taken.shape[3] % weights.shape[3]
    if multiple or (depthwise and weights.shape[0] != 1):
        return f"its weights {weights.shape} don't fit an input of {taken.shape}"
    return _windows(graph, operator, (weights.shape[1], weights.shape[2]))


def _pool(graph: Graph, operator: Operator) -> str:
    taken, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    if broken := _ranks(4, taken, made):
        return broken
    if taken.shape[3] != made.shape[3]:
        return f"a pool keeps its channels, got {taken.shape[3]} and {made.shape[3]}"
    return _windows(graph, operator, window_options(operator.options).filter)


def _transposed_convolution(graph: Graph, operator: Operator) -> str:
    _, weights, taken = (graph.tensors[place] for place in operator.inputs[:3])
    moves = window_options(operator.options)
    if min(moves.stride) < 1:
        return f"its strides must be at least 1, got {moves.stride}"
    return _ranks(4, weights, taken, graph.tensors[operator.outputs[0]])


def _fully_connected(graph: Graph, operator: Operator) -> str:
    taken, weights = (graph.tensors[place] for place in operator.inputs[:2])
    made = graph.tensors[operator.outputs[0]]
    if broken := _ranks(2, weights):
        return broken
    rows, width = weights.shape
    if taken.elements % width or made.elements * width != taken.elements * rows:
        return f"its weights {weights.shape} don't lead from {taken.shape} to {made.shape}"
    return ""


def _product(graph: Graph, operator: Operator) -> str:
    left, right = (graph.tensors[place].shape for place in operator.inputs[:2])
    made = graph.tensors[operator.outputs[0]].shape
    if min(len(left), len(right), len(made)) < 2 or max(len(left), len(right)) > len(made):
        return f"a matrix product of {left} and {right} can't be {made}"
    rows, inner = left[-2:][::-1] if operator.options.flag("adjX") else left[-2:]
    other, columns = right[-2:][::-1] if operator.options.flag("adjY") else right[-2:]
    return "" if inner == other and made[-2:] == (rows, columns) else f"a product of {left} and {right} can't be {made}"


def _same_count(graph: Graph, operator: Operator) -> str:
    taken, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    return "" if taken.elements == made.elements else f"{taken.elements} values can't have the shape {made.shape}"


def _same_shape(graph: Graph, operator: Operator) -> str:
    taken, made = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    return "" if _core(taken) == _core(made) else f"it must keep the shape {taken}, got {made}"


def _softmax(graph: Graph, operator: Operator) -> str:
    if not graph.tensors[operator.inputs[0]].shape:
        return "it must have at least one side"
    return _same_shape(graph, operator)


def _core(shape: Shape) -> Shape:
    """Return a shape without sides of 1 in front."""
    first = next((place for place, side in enumerate(shape) if side != 1), len(shape))
    return shape[first:]


def _broadcast(graph: Graph, operator: Operator) -> str:
    shapes = [graph.tensors[place].shape for place in operator.inputs[:2]]
    made = graph.tensors[operator.outputs[0]].shape
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    wanted = []
    for pair in zip(*padded, strict=True):
        larger = [side for side in pair if side != 1]
        if len(set(larger)) > 1:
            return f"{shapes[0]} and {shapes[1]} don't broadcast"
        wanted.append(larger[0] if larger else 1)
    return (
        "" if _core(tuple(wanted)) == _core(made) else f"{shapes[0]} and {shapes[1]} make {tuple(wanted)}, got {made}"
    )


def _transpose(graph: Graph, operator: Operator) -> str:
    taken, made = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    order = graph.tensors[operator.inputs[1]].integers
    if graph.is_constant(operator.inputs[1]) and sorted(order) != list(range(len(taken))):
        return f"its order must be a permutation of {len(taken)} sides, got {order}"
    wanted = tuple(taken[side] for side in order)
    return "" if not order or wanted == made else f"{taken} in the order {order} is {wanted}, got {made}"


def _pad(graph: Graph, operator: Operator) -> str:
    taken, made = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    table = graph.tensors[operator.inputs[1]].integers
    if not graph.is_constant(operator.inputs[1]):
        return "" if len(taken) == len(made) else f"it must keep the number of sides, got {taken} and {made}"
    if len(table) != 2 * len(taken) or min(table, default=0) < 0:
        return f"there must be two amounts of at least 0 a side of {taken}, got {table}"
    wanted = tuple(side + table[2 * i] + table[2 * i + 1] for i, side in enumerate(taken))
    return "" if wanted == made else f"{taken} padded by {table} is {wanted}, got {made}"


def _slice(graph: Graph, operator: Operator) -> str:
    taken, made = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    if len(taken) != len(made) or any(part > side for part, side in zip(made, taken, strict=True)):
        return f"it can't be {made} out of {taken}"
    begin = graph.tensors[operator.inputs[1]].integers
    if not graph.is_constant(operator.inputs[1]):
        return ""
    if len(begin) != len(taken):
        return f"it must begin at a place a side of {taken}, got {begin}"
    inside = all(at >= 0 and at + part <= side for at, part, side in zip(begin, made, taken, strict=True))
    return "" if inside else f"{made} from {begin} is outside {taken}"


def _split(graph: Graph, operator: Operator) -> str:
    wanted = operator.options.integer("numSplits")
    if len(operator.outputs) != wanted:
        return f"it must have {wanted} outputs, got {len(operator.outputs)}"
    return ""


def _concatenation(graph: Graph, operator: Operator) -> str:
    made = graph.tensors[operator.outputs[0]].shape
    shapes = [tensor.shape for tensor in _tensors(graph, operator.inputs)]
    rank = len(made)
    axis = operator.options.integer("axis") % max(rank, 1)
    if not -rank <= operator.options.integer("axis") < rank or any(len(shape) != rank for shape in shapes):
        return f"it can't join {shapes} along side {operator.options.integer('axis')} to {made}"
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in (*shapes, made)}
    if len(rest) > 1 or sum(shape[axis] for shape in shapes) != made[axis]:
        return f"it can't join {shapes} along side {axis} to {made}"
    return ""


def _reduction(graph: Graph, operator: Operator) -> str:
    rank, axes = len(graph.tensors[operator.inputs[0]].shape), graph.tensors[operator.inputs[1]].integers
    return "" if all(-rank <= axis < rank for axis in axes) else f"it has {rank} sides, got the axes {axes}"


def _svdf(graph: Graph, operator: Operator) -> str:
    taken, filters, steps = (graph.tensors[place] for place in operator.inputs[:3])
    rank = operator.options.integer("rank")
    if broken := _ranks(2, taken, filters, steps):
        return broken
    return "" if rank >= 1 and filters.shape[0] % rank == 0 else f"{filters.shape[0]} filters can't have rank {rank}"


_ELEMENTWISE = (
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU", "FLOOR_DIV", "FLOOR_MOD"),
    *("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_OR"),
)
_SHAPED = (
    *("ABS", "CAST", "CEIL", "COS", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "HARD_SWISH", "L2_NORMALIZATION"),
    *("LEAKY_RELU", "LOG", "LOGICAL_NOT", "LOGISTIC", "NEG", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND"),
    *("RSQRT", "SIN", "SQRT", "SQUARE", "TANH", "ZEROS_LIKE"),
)
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _broadcast),
    **dict.fromkeys(_SHAPED, _same_shape),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), _softmax),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _same_count),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    **dict.fromkeys(("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"), _pool),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_PROD"), _reduction),
    **dict.fromkeys(("PAD", "PADV2"), _pad),
    "BATCH_MATMUL": _product,
    "CONCATENATION": _concatenation,
    "FULLY_CONNECTED": _fully_connected,
    "SLICE": _slice,
    "SPLIT": _split,
    "SVDF": _svdf,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transposed_convolution,
}
