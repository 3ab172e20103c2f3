"""Files of several graphs: a loop, a choice, a call made once."""

from __future__ import annotations

import numpy as np

from tests.memory.handmade import Graph, Op, Tensor, constant

T = Tensor


def control_flow() -> dict[str, tuple[Graph, ...]]:
    """Several graphs: a loop that doubles a map while its counter is small, a choice, a call made once, variables."""
    x, n = T((1, 6, 6, 5)), T((1,), "int32", scales=())
    flag = T((1,), "bool")
    less = Graph([n, x, constant([3]), flag], [Op("LESS", [0, 2], [3], ("LessOptions", {}))], [0, 1], [3])
    body = Graph(
        [n, x, constant([1]), n, x, x],
        [
            Op("ADD", [0, 2], [3], ("AddOptions", {})),
            Op("RELU", [1], [4]),
            Op("ADD", [4, 1], [5], ("AddOptions", {})),
        ],
        [0, 1],
        [3, 5],
    )
    loop = Graph(
        [n, x, x, n, x, x],
        [
            Op("RELU", [1], [2]),
            Op("WHILE", [0, 2], [3, 4], ("WhileOptions", {"condSubgraphIndex": 1, "bodySubgraphIndex": 2})),
            Op("ADD", [4, 1], [5], ("AddOptions", {})),
        ],
        [0, 1],
        [3, 5],
    )
    branch = Graph([x, x], [Op("RELU", [0], [1])], [0], [1])
    long = Graph([x, x, x], [Op("RELU", [0], [1]), Op("HARD_SWISH", [1], [2])], [0], [2])
    choice = Graph(
        [flag, x, x, x],
        [
            Op("IF", [0, 1], [2], ("IfOptions", {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2})),
            Op("RELU", [2], [3]),
        ],
        [0, 1],
        [3],
    )
    handle = T((1,), "resource", scales=())
    named = ("VarHandleOptions", {"container": "", "sharedName": "state"})
    start = Graph(
        [handle, constant(np.ones((1, 6), "int8"), "int8")],
        [Op("VAR_HANDLE", [], [0], named), Op("ASSIGN_VARIABLE", [0, 1], [], ("AssignVariableOptions", {}))],
        [],
        [],
    )
    y = T((1, 6))
    once = Graph(
        [y, handle, y, y],
        [
            Op("CALL_ONCE", [], [], ("CallOnceOptions", {"initSubgraphIndex": 1})),
            Op("VAR_HANDLE", [], [1], named),
            Op("READ_VARIABLE", [1], [2], ("ReadVariableOptions", {})),
            Op("ADD", [0, 2], [3], ("AddOptions", {})),
            Op("ASSIGN_VARIABLE", [1, 3], [], ("AssignVariableOptions", {})),
        ],
        [0],
        [3],
    )
    return {"while": (loop, less, body), "if": (choice, branch, long), "call_once": (once, start)}
