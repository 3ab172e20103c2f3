from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sapool.predict.lowering.builder import Builder
from tests.predict.lowering.lowered import Calls, kinds, lowered


def test_nothing_that_no_output_needs_is_kept() -> None:
    def wasteful(x: Tensor) -> Tensor:
        torch.sigmoid(x)
        return F.relu(x)

    assert kinds(lowered(Calls(wasteful))) == ["CONV_2D"]


def test_the_same_operator_on_the_same_tensors_is_made_once() -> None:
    b = Builder()
    x = b.add_input((1, 4, 6, 5))
    turned = b.as_first(x)
    assert b.as_first(x) is turned
    assert b.as_last(turned) is x
    assert b.numbers((1, 2)) == b.numbers((1, 2)) != b.numbers((2, 1))
    once, again = (b.emit("RELU", (turned,), turned.shape, last=False) for _ in range(2))
    assert once == again
    assert [draft.kind for draft in b.operators] == ["TRANSPOSE", "RELU"]
    b.emit("ABS", (x,), x.shape, last=True)
    graph = b.finish([once])
    assert [op.kind for op in graph.operators] == ["TRANSPOSE", "RELU"]
    assert [t.shape for t in graph.tensors if not t.constant] == [(1, 6, 5, 4), (1, 4, 6, 5), (1, 4, 6, 5)]


def test_what_constants_alone_make_is_a_constant() -> None:
    b = Builder()
    one = b.constant((1, 3))
    made = b.emit("ADD", (one, one), (1, 3), last=False)
    assert b.tensors[made.place].constant
    assert b.operators == []
