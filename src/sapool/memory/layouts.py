"""The sizes of the runtime's structs in each build of TensorFlow Lite Micro whose tail is predicted.

``WHEEL``: the PyPI wheel (tflite-micro 0.dev20261023, x86-64; built with compressed tensors), read off a run in a
debugger that stopped at every allocation of one-operator models.

``BENCHMARK_32``: TFLM's ``generic_model_benchmark`` with 32-bit pointers, as its Makefile builds it: without compressed
tensors, whose places are much of what kernels' data is smaller by. The fields of tensorflow/tflite-micro's structs
counted with 4-byte pointers, then held against what mcufit 0.5.2's wasm32 build (August 2026) records, sum by sum, on
354 small models of 98 kinds of operators: equal to the byte on all. It records every allocation, and keeps room for 100
resource variables.

``FIRMWARE_32``: the same where ``MicroInterpreter`` is constructed from a model, operators and an arena, as TFLM's
examples do: nothing is recorded, no room for resource variables. That is 2,128 bytes less than ``BENCHMARK_32`` (2,112
where alignment takes it): what mcufit's authors measured on an ESP32 with all four of their models.

Nothing here is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

Piece = tuple[int, int]
"""A piece of the tail: its size and its alignment."""

_OPTIONS: Mapping[str, Piece] = {
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


@dataclass(frozen=True)
class Layout:
    """What one build of the runtime keeps, in bytes.

    Attributes:
        pointer: of a pointer, to which a struct that holds one is aligned.
        runtime: the arena's allocator, the planner of the head, and the allocator of models.
        options_allocator: the allocator of operators' options.
        resource_list: the list of resource variables.
        resource: one of them.
        resources: how many there is room for whatever the model; a model's own are counted in any case.
        subgraph: of a graph.
        eval_tensor: of a tensor.
        node: of an operator.
        tensor: the whole ``TfLiteTensor`` of an input or output.
        quantisation: its quantisation, without its zero points.
        log_softmax: the data of an int8 LOG_SOFTMAX.
        options: what each kind's options become; a kind that is not in it has none.
        data: its kernel's own data.
    """

    pointer: int
    runtime: tuple[int, int, int]
    options_allocator: int
    resource_list: int
    resource: int
    resources: int
    subgraph: int
    eval_tensor: int
    node: int
    tensor: int
    quantisation: int
    log_softmax: int
    options: Mapping[str, Piece]
    data: Mapping[str, int]


WHEEL = Layout(
    pointer=8,
    runtime=(104, 72, 272),
    options_allocator=16,
    resource_list=16,
    resource=40,
    resources=0,
    subgraph=24,
    eval_tensor=24,
    node=64,
    tensor=64,
    quantisation=24,
    log_softmax=40,
    options=_OPTIONS,
    data=_DATA,
)

# Kernels' data that is smaller: with shorter pointers, and without places for compressed tensors, which are all that
# ASSIGN_VARIABLE keeps.
_SMALLER = {
    "BATCH_MATMUL": 16,
    "CONCATENATION": 24,
    "CONV_2D": 56,
    "DEPTHWISE_CONV_2D": 56,
    "FULLY_CONNECTED": 48,
    "SOFTMAX": 56,
    "TRANSPOSE_CONV": 72,
}

BENCHMARK_32 = Layout(
    pointer=4,
    runtime=(52, 44, 124),
    options_allocator=8,
    resource_list=12,
    resource=20,
    resources=100,
    subgraph=8,
    eval_tensor=12,
    node=32,
    tensor=40,
    quantisation=12,
    log_softmax=28,
    options={**_OPTIONS, "FULLY_CONNECTED": (16, 4), "VAR_HANDLE": (8, 4)},
    data={kind: size for kind, size in {**_DATA, **_SMALLER}.items() if kind != "ASSIGN_VARIABLE"},
)

FIRMWARE_32 = replace(BENCHMARK_32, runtime=(36, 44, 36), resources=0)
