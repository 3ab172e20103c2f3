from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.predict.lowering.lowered import Calls, kinds, lowered


def test_every_score_is_there_between_two_products() -> None:
    def attend(x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2).reshape(1, 256, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(tokens, tokens[:, :, :64], tokens[:, :, :64])

    graph = lowered(Calls(attend))
    products = [op for op in graph.operators if op.kind == "BATCH_MATMUL"]
    (softmax,) = (op for op in graph.operators if op.kind == "SOFTMAX")
    assert len(products) == 2
    assert graph.tensors[softmax.outputs[0]].shape == (2, 256, 64)
    assert softmax.inputs[0] == products[0].outputs[0]
    assert products[1].inputs[0] == softmax.outputs[0]
    assert torch.Size(graph.tensors[graph.outputs[0]].shape).numel() == 2 * 256 * 4
    assert "EXP" not in kinds(graph)
