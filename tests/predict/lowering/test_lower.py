from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from sapool import apply_plan, export_int8, find_downsampling, load_model, make_plan, randomize_norms
from sapool.export import measure_arena
from sapool.predict.lowering import UnpredictableError
from sapool.predict.profile import profile_memory

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


class PositiveColumns(nn.Module):
    """A network whose map's size depends on the numbers in it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nonzero(x).flatten()


def test_an_operation_whose_shapes_need_the_numbers_is_named() -> None:
    with pytest.raises(UnpredictableError, match="nonzero: its shapes need the numbers"):
        profile_memory(PositiveColumns(), 8)


class Activated(nn.Module):
    """Two convolutions with an activation between them."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.activation(self.first(x))).mean((2, 3))


ACTIVATIONS: list[tuple[nn.Module, list[str]]] = [
    (nn.LeakyReLU(0.1), ["DEQUANTIZE", "LEAKY_RELU", "QUANTIZE"]),
    (nn.PReLU(8), ["RELU", "MUL", "MUL", "SUB"]),
    (nn.PReLU(), ["RELU", "MUL", "MUL", "SUB"]),
    (nn.Hardtanh(), []),
    (nn.Hardtanh(0.0, 6.0), []),
    (nn.ReLU6(), []),
    (nn.Tanh(), ["TANH"]),
]


@pytest.mark.parametrize(("activation", "kinds"), ACTIVATIONS, ids=lambda value: str(value))
def test_an_activation_is_what_the_converter_makes_of_it(activation: nn.Module, kinds: list[str]) -> None:
    profile = profile_memory(Activated(activation).eval(), 32, passes="none")
    found = [operator.kind for operator in profile.by_operator]
    assert found == ["PAD", "CONV_2D", *kinds, "PAD", "CONV_2D", "MEAN"]
    assert not profile.unknown_operators


@pytest.mark.slow
@pytest.mark.parametrize("activation", [activation for activation, _ in ACTIVATIONS[:4]], ids=str)
def test_an_activation_is_predicted_to_the_byte(activation: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, path = Activated(activation).eval(), tmp_path / "net.tflite"
    export_int8(net, [torch.rand(4, 3, 32, 32)], path)
    assert profile_memory(net, 32).total_bytes == measure_arena(path).total_bytes


@pytest.mark.parametrize("activation", [nn.ELU(), nn.Softplus(), nn.Mish(), nn.Hardshrink(), nn.GELU()], ids=str)
def test_a_prediction_with_operators_that_are_not_known_says_so(activation: nn.Module) -> None:
    assert profile_memory(Activated(activation).eval(), 32).unknown_operators


class Attending(nn.Module):
    """A convolution's pixels as tokens of one of torch's own attention layers."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.stem, self.attention, self.head = nn.Conv2d(3, 16, 3, 4, 1), attention, nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        if isinstance(self.attention, nn.MultiheadAttention):
            tokens, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        else:
            tokens = self.attention(tokens)
        return self.head(tokens.mean(1))


@pytest.mark.parametrize(
    "attention",
    [nn.MultiheadAttention(16, 2, batch_first=True), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)],
    ids=lambda layer: type(layer).__name__,
)
def test_attention_of_torchs_own_is_predicted_and_listed_as_not_known(attention: nn.Module) -> None:
    profile = profile_memory(Attending(attention).eval(), 32)
    assert profile.unknown_operators == ("MULTI_HEAD_ATTENTION_FORWARD",)
    assert profile.head_bytes >= 8 * 8 * 16 * 2  # its tokens before and after


def test_a_vision_transformer_is_planned_and_predicted() -> None:
    net = VisionTransformer(64, 16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4).eval()
    assert "MULTI_HEAD_ATTENTION_FORWARD" in profile_memory(net, 64).unknown_operators
    (site,) = find_downsampling(net, 64)
    assert site.name == "conv_proj"
    assert make_plan(net, 64, "avg", [16]).strides == (16,)


def test_a_part_in_data_parallel_is_predicted_as_without() -> None:
    parts = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()), nn.Conv2d(4, 4, 3, 2, 1)
    plain, wrapped = (nn.Sequential(first, parts[1]).eval() for first in (parts[0], nn.DataParallel(parts[0])))
    assert profile_memory(wrapped, 32).total_bytes == profile_memory(plain, 32).total_bytes


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_scripted_part_is_named() -> None:
    net = nn.Sequential(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())), nn.Conv2d(4, 4, 3))
    with pytest.raises(UnpredictableError, match=r"^0 is scripted: its code can't be read"):
        profile_memory(net.eval(), 32)
