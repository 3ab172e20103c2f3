"""One small graph for each operator and type that TensorFlow Lite Micro's Python build can run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.memory.handmade import Graph, Op, Tensor, constant, single, weights

T = Tensor
FLOAT: dict[str, Any] = {"dtype": "float32", "scales": ()}
INT16: dict[str, Any] = {"dtype": "int16"}
STYLES: dict[str, dict[str, Any]] = {"int8": {}, "float32": FLOAT, "int16": INT16}
CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 0}
POOL = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2, "padding": 1}


def _w(style: str) -> str:
    return "float32" if style == "float32" else "int8"


def _bias(style: str, n: int) -> Tensor:
    dtype = {"int8": "int32", "int16": "int64", "float32": "float32"}[style]
    return Tensor((n,), dtype, weights(n, dtype=dtype).data, () if style == "float32" else (0.05,) * n)


def convolutions() -> Iterator[tuple[str, Graph]]:
    for style, k in STYLES.items():
        channels = 1 if style == "float32" else 6
        for per in sorted({1, channels}):
            w = weights(6, 3, 3, 4, dtype=_w(style), channels=per)
            x, y = T((1, 8, 8, 4), **k), T((1, 8, 8, 6), **k)
            yield f"conv_{style}_{per}", single("CONV_2D", [x, w, _bias(style, 6)], [y], "Conv2DOptions", CONV)
            yield f"conv_{style}_{per}_nobias", single("CONV_2D", [x, w], [y], "Conv2DOptions", CONV)
            d = weights(1, 3, 3, 4, dtype=_w(style), channels=min(per, 4), dimension=3)
            options = {**CONV, "depthMultiplier": 1}
            y4 = T((1, 8, 8, 4), **k)
            yield (
                f"depthwise_{style}_{per}",
                single("DEPTHWISE_CONV_2D", [x, d, _bias(style, 4)], [y4], "DepthwiseConv2DOptions", options),
            )
        shape = constant([1, 16, 16, 6])
        w = weights(6, 2, 2, 4, dtype=_w(style), channels=channels)
        up = T((1, 16, 16, 6), **k)
        options = {"strideH": 2, "strideW": 2, "padding": 0}
        yield (
            f"transpose_conv_{style}",
            single(
                "TRANSPOSE_CONV",
                [shape, w, T((1, 8, 8, 4), **k), _bias(style, 6)],
                [up],
                "TransposeConvOptions",
                options,
            ),
        )
        yield (
            f"transpose_conv_{style}_nobias",
            single("TRANSPOSE_CONV", [shape, w, T((1, 8, 8, 4), **k)], [up], "TransposeConvOptions", options),
        )


def products() -> Iterator[tuple[str, Graph]]:
    for style, k in STYLES.items():
        for per in (1, 5):
            w = weights(5, 12, dtype=_w(style), channels=per)
            args = [T((1, 12), **k), w, _bias(style, 5)]
            yield f"fc_{style}_{per}", single("FULLY_CONNECTED", args, [T((1, 5), **k)], "FullyConnectedOptions", {})
        args = [T((1, 12), **k), weights(5, 12, dtype=_w(style))]
        yield f"fc_{style}_nobias", single("FULLY_CONNECTED", args, [T((1, 5), **k)], "FullyConnectedOptions", {})
        for adj_x in (False, True):
            for adj_y in (False, True):
                left = T((2, 7, 5) if adj_x else (2, 5, 7), **k)
                right = (2, 9, 7) if adj_y else (2, 7, 9)
                options = {"adjX": adj_x, "adjY": adj_y}
                y = T((2, 5, 9), **k)
                name = f"bmm_{style}_{adj_x:d}{adj_y:d}"
                yield name, single("BATCH_MATMUL", [left, T(right, **k)], [y], "BatchMatMulOptions", options)
                w = weights(*right, dtype=k.get("dtype", "int8"))
                yield f"{name}_const", single("BATCH_MATMUL", [left, w], [y], "BatchMatMulOptions", options)


def pools() -> Iterator[tuple[str, Graph]]:
    for style, k in STYLES.items():
        x, y = T((1, 9, 9, 5), **k), T((1, 4, 4, 5), **k)
        for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
            yield f"{kind}_{style}", single(kind, [x], [y], "Pool2DOptions", POOL)
        for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
            for axes, shape in (((1, 2), (1, 1, 1, 5)), ((1, 2), (1, 5)), ((3,), (1, 9, 9, 1)), ((1,), (1, 1, 9, 5))):
                args = [x, constant(axes)]
                name = f"{kind}_{style}_{len(shape)}_{''.join(map(str, axes))}"
                yield name, single(kind, args, [T(shape, **k)], "ReducerOptions", {"keepDims": len(shape) == 4})
        for kind in ("ARG_MAX", "ARG_MIN"):
            options = {"outputType": 2}
            args = [T((1, 10), **k), constant(1)]
            name = "ArgMaxOptions" if kind == "ARG_MAX" else "ArgMinOptions"
            yield f"{kind}_{style}", single(kind, args, [T((1,), "int32", scales=())], name, options)


ONE: dict[str, tuple[str, dict[str, Any]] | None] = {
    "LOGISTIC": None,
    "TANH": None,
    "RELU": None,
    "RELU6": None,
    "HARD_SWISH": ("HardSwishOptions", {}),
    "ELU": None,
    "LEAKY_RELU": ("LeakyReluOptions", {"alpha": 0.1}),
    "ABS": ("AbsOptions", {}),
    "RSQRT": None,
    "SQRT": None,
    "SQUARE": ("SquareOptions", {}),
    "NEG": ("NegOptions", {}),
    "EXP": ("ExpOptions", {}),
    "LOG": None,
    "SIN": None,
    "COS": ("CosOptions", {}),
    "FLOOR": None,
    "CEIL": None,
    "ROUND": None,
    "ZEROS_LIKE": ("ZerosLikeOptions", {}),
    "SOFTMAX": ("SoftmaxOptions", {"beta": 1.0}),
    "LOG_SOFTMAX": ("LogSoftmaxOptions", {}),
    "L2_NORMALIZATION": ("L2NormOptions", {}),
}
TWO: dict[str, tuple[str, dict[str, Any]] | None] = {
    "ADD": ("AddOptions", {}),
    "SUB": ("SubOptions", {}),
    "MUL": ("MulOptions", {}),
    "DIV": ("DivOptions", {}),
    "MAXIMUM": ("MaximumMinimumOptions", {}),
    "MINIMUM": ("MaximumMinimumOptions", {}),
    "SQUARED_DIFFERENCE": ("SquaredDifferenceOptions", {}),
    "FLOOR_DIV": ("FloorDivOptions", {}),
    "FLOOR_MOD": ("FloorModOptions", {}),
    "PRELU": None,
}
COMPARE = {
    "EQUAL": "EqualOptions",
    "NOT_EQUAL": "NotEqualOptions",
    "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions",
}


def _soft_output(kind: str, style: str) -> dict[str, Any]:
    if style == "float32":
        return FLOAT
    if kind == "SOFTMAX":
        return {"scales": (1 / 256,), "zero": -128} if style == "int8" else {**INT16, "scales": (1 / 32768,)}
    if kind == "LOGISTIC":
        return {"scales": (1 / 256,), "zero": -128} if style == "int8" else {**INT16, "scales": (1 / 32768,)}
    if kind == "TANH":
        return {"scales": (1 / 128,)} if style == "int8" else {**INT16, "scales": (1 / 32768,)}
    if kind == "LOG_SOFTMAX":
        return {"scales": (16 / 256,), "zero": 127}
    return STYLES[style]


def elementwise() -> Iterator[tuple[str, Graph]]:
    for style, k in STYLES.items():
        for kind, options in ONE.items():
            y = T((1, 6, 6, 5), **_soft_output(kind, style))
            yield f"{kind}_{style}", single(kind, [T((1, 6, 6, 5), **k)], [y], *(options or ()))
        for kind, options in TWO.items():
            for other in ((1, 6, 6, 5), (5,)):
                args = [T((1, 6, 6, 5), **k), T(other, **k)]
                yield f"{kind}_{style}_{len(other)}", single(kind, args, [T((1, 6, 6, 5), **k)], *(options or ()))
            w = weights(5, dtype=k.get("dtype", "int8"))
            args = [T((1, 6, 6, 5), **k), w]
            yield f"{kind}_{style}_const", single(kind, args, [T((1, 6, 6, 5), **k)], *(options or ()))
        for kind, name in COMPARE.items():
            args = [T((1, 6, 6, 5), **k), T((1, 6, 6, 5), **k)]
            yield f"{kind}_{style}", single(kind, args, [T((1, 6, 6, 5), "bool")], name, {})
    flags = [T((1, 6), "bool"), T((1, 6), "bool")]
    yield "LOGICAL_AND", single("LOGICAL_AND", flags, [T((1, 6), "bool")], "LogicalAndOptions", {})
    yield "LOGICAL_OR", single("LOGICAL_OR", flags, [T((1, 6), "bool")], "LogicalOrOptions", {})
    yield "LOGICAL_NOT", single("LOGICAL_NOT", flags[:1], [T((1, 6), "bool")], "LogicalNotOptions", {})


def shapes() -> Iterator[tuple[str, Graph]]:
    for style, k in STYLES.items():
        x = T((1, 6, 6, 4), **k)
        pads = constant([[0, 0], [1, 1], [1, 1], [0, 0]])
        yield f"PAD_{style}", single("PAD", [x, pads], [T((1, 8, 8, 4), **k)], "PadOptions", {})
        fill = weights(1, dtype=k.get("dtype", "int8"))
        fill.scales = k.get("scales", (0.5,))
        yield f"PADV2_{style}", single("PADV2", [x, pads, fill], [T((1, 8, 8, 4), **k)], "PadV2Options", {})
        yield f"MIRROR_PAD_{style}", single("MIRROR_PAD", [x, pads], [T((1, 8, 8, 4), **k)], "MirrorPadOptions", {})
        permutation = constant([0, 3, 1, 2])
        yield (
            f"TRANSPOSE_{style}",
            single("TRANSPOSE", [x, permutation], [T((1, 4, 6, 6), **k)], "TransposeOptions", {}),
        )
        y = T((1, 36, 4), **k)
        yield f"RESHAPE_{style}", single("RESHAPE", [x, constant([1, 36, 4])], [y], "ReshapeOptions", {})
        parts = [x, T((1, 6, 6, 2), **k)]
        options = {"axis": 3}
        yield f"CONCAT_{style}", single("CONCATENATION", parts, [T((1, 6, 6, 6), **k)], "ConcatenationOptions", options)
        halves = [T((1, 6, 6, 2), **k), T((1, 6, 6, 2), **k)]
        yield f"SPLIT_{style}", single("SPLIT", [constant(3), x], halves, "SplitOptions", {"numSplits": 2})
        args = [x, constant([2, 2]), constant(3)]
        yield f"SPLIT_V_{style}", single("SPLIT_V", args, halves, "SplitVOptions", {"numSplits": 2})
        args = [x, constant([0, 1, 1, 0]), constant([1, 3, 3, 4])]
        yield f"SLICE_{style}", single("SLICE", args, [T((1, 3, 3, 4), **k)], "SliceOptions", {})
        args = [x, constant([0, 0, 0, 0]), constant([1, 6, 6, 4]), constant([1, 2, 2, 1])]
        yield f"STRIDED_SLICE_{style}", single("STRIDED_SLICE", args, [T((1, 3, 3, 4), **k)], "StridedSliceOptions", {})
        args = [x, constant([12, 12])]
        for kind in ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"):
            name = "ResizeNearestNeighborOptions" if "NEAREST" in kind else "ResizeBilinearOptions"
            yield f"{kind}_{style}", single(kind, args, [T((1, 12, 12, 4), **k)], name, {})
        options = {"blockSize": 2}
        y = T((1, 3, 3, 16), **k)
        yield f"SPACE_TO_DEPTH_{style}", single("SPACE_TO_DEPTH", [x], [y], "SpaceToDepthOptions", options)
        y = T((1, 12, 12, 1), **k)
        yield f"DEPTH_TO_SPACE_{style}", single("DEPTH_TO_SPACE", [x], [y], "DepthToSpaceOptions", options)
        args = [x, constant([2, 2]), constant([[0, 0], [0, 0]])]
        y = T((4, 3, 3, 4), **k)
        yield f"SPACE_TO_BATCH_ND_{style}", single("SPACE_TO_BATCH_ND", args, [y], "SpaceToBatchNDOptions", {})
        args = [T((4, 3, 3, 4), **k), constant([2, 2]), constant([[0, 0], [0, 0]])]
        yield f"BATCH_TO_SPACE_ND_{style}", single("BATCH_TO_SPACE_ND", args, [x], "BatchToSpaceNDOptions", {})
        y = T((2, 6, 6, 4), **k)
        a = T((6, 6, 4), **k)
        yield f"PACK_{style}", single("PACK", [a, a], [y], "PackOptions", {"valuesCount": 2, "axis": 0})
        yield f"UNPACK_{style}", single("UNPACK", [y], [a, a], "UnpackOptions", {"num": 2, "axis": 0})
        args = [x, constant([0, 2])]
        yield f"GATHER_{style}", single("GATHER", args, [T((1, 2, 6, 4), **k)], "GatherOptions", {"axis": 1})
        args = [x, constant([[0, 2]])]
        yield f"GATHER_ND_{style}", single("GATHER_ND", args, [T((1, 6, 4), **k)], "GatherNdOptions", {})
        args = [x, constant(1)]
        yield f"EXPAND_DIMS_{style}", single("EXPAND_DIMS", args, [T((1, 1, 6, 6, 4), **k)], "ExpandDimsOptions", {})
        yield f"SQUEEZE_{style}", single("SQUEEZE", [x], [T((6, 6, 4), **k)], "SqueezeOptions", {})
        args = [T((1, 1, 6, 4), **k), constant([1, 6, 6, 4])]
        yield f"BROADCAST_TO_{style}", single("BROADCAST_TO", args, [x], "BroadcastToOptions", {})
        yield f"SHAPE_{style}", single("SHAPE", [x], [T((4,), "int32", scales=())], "ShapeOptions", {"outType": 2})
        args = [T((1, 6, 6, 4), "bool"), x, x]
        yield f"SELECT_V2_{style}", single("SELECT_V2", args, [x], "SelectV2Options", {})
        yield f"ADD_N_{style}", single("ADD_N", [x, x, x], [x], "AddNOptions", {})
        yield f"CUMSUM_{style}", single("CUMSUM", [x, constant(1)], [x], "CumsumOptions", {})
        yield f"REVERSE_V2_{style}", single("REVERSE_V2", [x, constant([1])], [x], "ReverseV2Options", {})
        args = [x, T((1, 2, 2, 4), **k), constant([0, 1, 1, 0])]
        yield (
            f"DYNAMIC_UPDATE_SLICE_{style}",
            single("DYNAMIC_UPDATE_SLICE", args, [x], "DynamicUpdateSliceOptions", {}),
        )
        w = weights(9, 4, dtype=k.get("dtype", "int8"))
        w.scales = k.get("scales", (0.5,))
        args = [constant([1, 2]), w]
        args[0].data = None
        yield f"EMBEDDING_LOOKUP_{style}", single("EMBEDDING_LOOKUP", args, [T((2, 4), **FLOAT)])
        args = [constant([2, 3]), weights(dtype=k.get("dtype", "int8"))]
        args[1].data, args[1].scales = None, k.get("scales", (0.5,))
        yield f"FILL_{style}", single("FILL", args, [T((2, 3), **k)], "FillOptions", {})


def conversions() -> Iterator[tuple[str, Graph]]:
    for a in ("int8", "int16", "float32", "uint8"):
        for b in ("int8", "int16", "float32", "int32", "uint8"):
            x, y = T((1, 6, 6, 4), a), T((1, 6, 6, 4), b)
            yield f"QUANTIZE_{a}_{b}", single("QUANTIZE", [x], [y], "QuantizeOptions", {})
            yield f"DEQUANTIZE_{a}_{b}", single("DEQUANTIZE", [x], [y], "DequantizeOptions", {})
            yield f"CAST_{a}_{b}", single("CAST", [x], [y], "CastOptions", {})


def recurrent() -> Iterator[tuple[str, Graph]]:
    for style, k in STYLES.items():
        if style == "int16":
            continue
        state: dict[str, Any] = {**k} if style == "float32" else {"dtype": "int16"}
        memory, units, rank, size = 4, 3, 2, 6
        args = [
            T((1, size), **k),
            weights(units * rank, size, dtype=_w(style)),
            weights(units * rank, memory, dtype="float32" if style == "float32" else "int16"),
            _bias(style, units),
            T((1, units * rank * memory), variable=True, **state),
        ]
        options = {"rank": rank, "fusedActivationFunction": 0}
        yield f"SVDF_{style}", single("SVDF", args, [T((1, units), **k)], "SVDFOptions", options)


def lstm(style: str) -> Graph:
    k, size, units, steps = STYLES[style], 6, 5, 4
    gate, back = weights(units, size, dtype=_w(style)), weights(units, units, dtype=_w(style))
    output_state = T((1, units), variable=True, **k)
    cell: dict[str, Any] = FLOAT if style == "float32" else {"dtype": "int16", "scales": (2.0**-11,)}
    tensors = [T((1, steps, size), **k)]
    places: list[int] = [0]
    absent = 3
    for group in ([gate] * 4, [back] * 4, absent, [_bias(style, units)] * 4, 2):
        if isinstance(group, int):
            places += [-1] * group
        else:
            places += range(len(tensors), len(tensors) + len(group))
            tensors += group
    for state in (output_state, T((1, units), variable=True, **cell)):
        places.append(len(tensors))
        tensors.append(state)
    places += [-1] * 4
    tensors.append(T((1, steps, units), **k))
    op = Op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        places,
        [len(tensors) - 1],
        ("UnidirectionalSequenceLSTMOptions", {"fusedActivationFunction": 4, "cellClip": 10.0}),
    )
    return Graph(tensors, [op], [0], [len(tensors) - 1])


def others() -> Iterator[tuple[str, Graph]]:
    for style in STYLES:
        yield f"LSTM_{style}", lstm(style)
    args = [T((3, 6), "bool"), constant([1])]
    yield "REDUCE_ALL", single("REDUCE_ALL", args, [T((3,), "bool")], "ReducerOptions", {})
    args = [constant([2, 1]), constant([1, 3])]
    args[0].data = None
    yield "BROADCAST_ARGS", single("BROADCAST_ARGS", args, [T((2,), "int32", scales=())])
    x = T((1, 6, 5))
    for kind in ("MEAN", "REDUCE_MAX"):
        yield f"{kind}_rank3", single(kind, [x, constant(1)], [T((1, 5))], "ReducerOptions", {})
    yield (
        "MIRROR_PAD_rank2",
        single("MIRROR_PAD", [T((6, 5)), constant([[1, 1], [0, 0]])], [T((8, 5))], "MirrorPadOptions", {}),
    )
    yield (
        "SOFTMAX_int8_int16",
        single(
            "SOFTMAX", [x], [T((1, 6, 5), "int16", scales=(1 / 65536,), zero=-32768)], "SoftmaxOptions", {"beta": 1.0}
        ),
    )
    left, right = T((1, 2, 5, 7)), T((1, 2, 7, 9))
    yield "bmm_rank4", single("BATCH_MATMUL", [left, right], [T((1, 2, 5, 9))], "BatchMatMulOptions", {})
    left, right = T((1, 2, 5, 7)), T((9, 7))
    yield "bmm_ranks", single("BATCH_MATMUL", [left, right], [T((1, 2, 5, 9))], "BatchMatMulOptions", {"adjY": True})
    packed = Tensor((6, 3, 3, 4), "int4", np.zeros(108, "uint8"), (0.1,) * 6)
    args = [T((1, 8, 8, 4)), packed, _bias("int8", 6)]
    yield "conv_int4", single("CONV_2D", args, [T((1, 8, 8, 6))], "Conv2DOptions", CONV)
    packed = Tensor((1, 3, 3, 4), "int4", np.zeros(18, "uint8"), (0.1,) * 4, dimension=3)
    args = [T((1, 8, 8, 4)), packed, _bias("int8", 4)]
    options = {**CONV, "depthMultiplier": 1}
    yield "depthwise_int4", single("DEPTHWISE_CONV_2D", args, [T((1, 8, 8, 4))], "DepthwiseConv2DOptions", options)
    packed = Tensor((5, 12), "int4", np.zeros(30, "uint8"), (0.1,))
    args = [T((1, 12)), packed, _bias("int8", 5)]
    args[2].scales = (0.05,)
    yield "fc_int4", single("FULLY_CONNECTED", args, [T((1, 5))], "FullyConnectedOptions", {})
    args = [
        constant([1, 16, 16, 6]),
        weights(6, 2, 2, 4, channels=6),
        T((1, 8, 8, 4), "int16"),
        weights(6, dtype="int16", channels=6),
    ]
    options = {"strideH": 2, "strideW": 2, "padding": 0}
    yield (
        "transpose_conv_bias16",
        single("TRANSPOSE_CONV", args, [T((1, 16, 16, 6), "int16")], "TransposeConvOptions", options),
    )


def everything() -> dict[str, Graph]:
    groups = (convolutions, products, pools, elementwise, shapes, conversions, recurrent, others)
    return {name: graph for group in groups for name, graph in group()}
