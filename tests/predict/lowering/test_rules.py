from __future__ import annotations

import torch

from tests.predict.lowering.lowered import Calls, kinds, lowered


def test_what_has_no_rule_is_one_operator_of_the_right_size() -> None:
    graph = lowered(Calls(lambda x: torch.cumsum(x, 1)))
    assert "CUMSUM" in kinds(graph)
    assert graph.tensors[graph.outputs[0]].bytes == 8 * 16 * 16
