"""Small graphs to tidy, and tidying them."""

from __future__ import annotations

from typing import Any

from sapool.passes.file.tidy import tidy_graph
from sapool.tflite import read_graph
from tests.memory.handmade import Graph, Op, Tensor, build, constant


def tidied(*graphs: Graph, **kwargs: Any) -> tuple[Any, Any, int]:
    """Return the model before, after, and how many places changed."""
    data = build(*graphs, **kwargs)
    after = read_graph(data)
    changed = tidy_graph(after)
    return read_graph(data), after, changed


def chain(shapes: list[tuple[int, ...]], orders: list[list[int]]) -> Graph:
    """LOGISTIC, a TRANSPOSE for each order, LOGISTIC; the shapes are those between."""
    tensors = [Tensor(shapes[0])] + [Tensor(s, scales=(1 / 256,), zero=-128) for s in (*shapes, shapes[-1])]
    ops = [Op("LOGISTIC", [0], [1])]
    for i, order in enumerate(orders):
        tensors.append(constant(order))
        ops.append(Op("TRANSPOSE", [1 + i, len(tensors) - 1], [2 + i]))
    last = len(shapes) + 1
    return Graph(tensors, [*ops, Op("LOGISTIC", [last - 1], [last])], [0], [last])


def rows(exit_shape: tuple[int, ...]) -> Graph:
    """RESHAPE (1, 2, 3, 4) to (6, 4), SOFTMAX, RESHAPE to another shape, LOGISTIC."""
    soft = {"scales": (1 / 256,), "zero": -128}
    tensors = [
        Tensor((1, 2, 3, 4)), Tensor((6, 4)), Tensor((6, 4), **soft), Tensor(exit_shape, **soft),  # type: ignore[arg-type]
        Tensor(exit_shape, **soft), constant([6, 4]), constant(exit_shape),  # type: ignore[arg-type]
    ]  # fmt: skip
    ops = [
        Op("RESHAPE", [0, 5], [1]),
        Op("SOFTMAX", [1], [2], ("SoftmaxOptions", {"beta": 1.0})),
        Op("RESHAPE", [2, 6], [3]),
        Op("LOGISTIC", [3], [4]),
    ]
    return Graph(tensors, ops, [0], [4])
