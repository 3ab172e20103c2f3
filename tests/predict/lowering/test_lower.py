from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool import apply_plan, export_int8, load_model, make_plan, randomize_norms
from sapool.export import measure_arena
from sapool.networks.traced import trace
from sapool.predict.lowering import lower
from sapool.predict.profile import profile_memory
from sapool.tflite import Graph


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def lowered(model: nn.Module, size: tuple[int, int, int] = (3, 16, 16)) -> Graph:
    return lower(trace(model.eval(), size).module, size)


class Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 8, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def test_a_convolution_takes_its_norm_and_its_activation_in() -> None:
    graph = lowered(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()))
    assert kinds(graph) == ["CONV_2D"]
    assert graph.operators[0].options["fusedActivationFunction"] == 1
    assert graph.tensors[graph.operators[0].outputs[0]].shape == (1, 16, 16, 8)


def test_an_activation_behind_a_map_that_others_read_is_not_fused() -> None:
    graph = lowered(Calls(lambda x: x + F.relu(x)))
    assert kinds(graph) == ["CONV_2D", "RELU", "ADD"]


def test_a_norm_without_a_convolution_is_four_operators() -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3))
    assert kinds(lowered(net)) == ["MAX_POOL_2D", "SUB", "MUL", "MUL", "ADD"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (F.silu, ["LOGISTIC", "MUL"]),
        (F.hardsigmoid, ["MUL"]),  # + 3 goes into the bias, relu6 is fused
        (lambda x: 0 + x * 1, []),
        (lambda x: x.mean((2, 3)), ["MEAN"]),
        (lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), ["MEAN"]),
        (lambda x: x.permute(0, 2, 3, 1).reshape(1, 256, 8), ["RESHAPE"]),
        (lambda x: x.flatten(2), ["TRANSPOSE", "RESHAPE"]),
        (lambda x: torch.cat(x.chunk(2, 1), 1), ["SLICE", "SLICE", "QUANTIZE", "QUANTIZE", "CONCATENATION"]),
        (lambda x: F.softmax(x, 1), ["SOFTMAX"]),
        (lambda x: F.interpolate(x, scale_factor=2), ["RESIZE_NEAREST_NEIGHBOR"]),
        (lambda x: F.max_pool2d(x, 3, 2, 1), ["PADV2", "MAX_POOL_2D"]),
        (lambda x: F.avg_pool2d(x, 2), ["AVERAGE_POOL_2D"]),
        (lambda x: torch.cat([x, *[F.relu(x) for _ in range(10)]], 1), None),
    ],
)
def test_calls_become_the_operators_that_the_converter_writes(function: Any, expected: list[str] | None) -> None:
    graph = lowered(Calls(function))
    if expected is None:  # no CONCATENATION has more than ten inputs
        joins = [operator for operator in graph.operators if operator.kind == "CONCATENATION"]
        assert max(len(join.inputs) for join in joins) == 10
        assert len(joins) == 2
    else:
        assert kinds(graph) == ["CONV_2D", *expected]


def test_what_has_no_rule_is_one_operator_of_the_right_size() -> None:
    graph = lowered(Calls(lambda x: torch.cumsum(x, 1)))
    assert "CUMSUM" in kinds(graph)
    assert graph.tensors[graph.outputs[0]].bytes == 8 * 16 * 16


def test_nothing_that_no_output_needs_is_kept() -> None:
    def wasteful(x: Tensor) -> Tensor:
        torch.sigmoid(x)
        return F.relu(x)

    assert kinds(lowered(Calls(wasteful))) == ["CONV_2D"]


PLANS = [
    ("sapool:tiny", 64, None, ()),
    ("sapool:tiny", 64, "self_attentive", (4, 2, 2, 1)),
    ("sapool:tiny", 60, "avg", (4, 2, 2, 1)),
    ("sapool:tiny", 64, "blur", (4, 2, 2, 1)),
    ("sapool:tiny", 64, "space_to_depth", (2, 2, 2, 2)),
    ("sapool:tiny", 64, "lip", (4, 2, 2, 1)),
    ("timm:mobilenetv3_small_050", 64, None, ()),
    ("timm:resnet10t", 65, None, ()),
    ("torchvision:shufflenet_v2_x0_5", 64, None, ()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "pool", "strides"), PLANS)
def test_memory_is_predicted_without_exporting(
    name: str, size: int, pool: str | None, strides: tuple[int, ...], tmp_path: Path
) -> None:
    net = load_model(name, 10)
    if pool is not None:
        net = apply_plan(net, make_plan(net, size, pool, strides)).model
    net, path = randomize_norms(net), tmp_path / "net.tflite"
    predicted = profile_memory(net, size)
    export_int8(net, [torch.rand(4, 3, size, size)], path)
    measured = measure_arena(path)
    assert predicted.head_bytes == pytest.approx(measured.head_bytes, rel=0.05)
    assert predicted.total_bytes == pytest.approx(measured.total_bytes, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", [{"combine": "context"}, {"combine": "both", "num_heads": 1, "position": None}])
def test_the_memory_of_an_added_context_is_predicted_and_no_pass_changes_the_output(
    kwargs: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = load_model("sapool:tiny", 10)
    net = randomize_norms(apply_plan(net, make_plan(net, 64, "self_attentive", (4, 2, 2, 1), **kwargs)).model)
    predicted, path = profile_memory(net, 64), tmp_path / "net.tflite"
    record = export_int8(net, [torch.rand(4, 3, 64, 64)], path)
    assert record.float_error < 1e-4
    measured = measure_arena(path)
    assert predicted.head_bytes == measured.head_bytes
    assert predicted.tail_bytes == pytest.approx(measured.tail_bytes, rel=0.05)
