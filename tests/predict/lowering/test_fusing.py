from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from tests.predict.lowering.lowered import Calls, kinds, lowered


def test_a_convolution_takes_its_norm_and_its_activation_in() -> None:
    graph = lowered(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()))
    assert kinds(graph) == ["CONV_2D"]
    assert graph.operators[0].options["fusedActivationFunction"] == 1
    assert graph.tensors[graph.operators[0].outputs[0]].shape == (1, 16, 16, 8)


def test_an_activation_behind_a_map_that_others_read_is_not_fused() -> None:
    graph = lowered(Calls(lambda x: x + F.relu(x)))
    assert kinds(graph) == ["CONV_2D", "RELU", "ADD"]
