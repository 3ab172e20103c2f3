from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapool.export import ExportError, export_int8
from sapool.export.refusal import explain_refusal, raising_module
from tests.conftest import images


class Svd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linalg.svd(x).S[..., None]


class Median(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.median(-1, keepdim=True).values


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x[x > 0].mean()


class ThroughNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.detach().numpy().mean())


class Net(nn.Module):
    def __init__(self, odd: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.middle = nn.Sequential(nn.ReLU(), odd, nn.Conv2d(4, 4, 1))
        self.classifier = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.middle(self.stem(x)).mean((2, 3)))


CASES = [
    (Svd, r"the converter has no form of aten\._linalg_svd\.default"),
    (Median, r"the converter has no form of aten\.median\.dim"),
    (Branching, "its code branches on a tensor's values"),
    (Masked, "it indexes with a mask"),
    (ThroughNumpy, r"\.numpy\(\) is not supported"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "why"), CASES)
def test_the_module_and_its_line_are_named(kind: type[nn.Module], why: str, tmp_path: Path) -> None:
    said = (
        rf"the converter refuses Net: module 'middle\.1' \({kind.__name__}\), test_refusal\.py:\d+ \(return .*\): {why}"
    )
    with pytest.raises(ExportError, match=said) as caught:
        export_int8(Net(kind()), [images(2, 16)], tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_second_of_two_equal_modules_is_told_from_the_first(tmp_path: Path) -> None:
    """Both take the maximum along a side; only the one that takes the median stops the converter."""
    net = Net(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Identity(), Median())))
    with pytest.raises(ExportError, match=r"module 'middle\.1\.1\.1' \(Median\)"):
        export_int8(net, [images(2, 16)], tmp_path / "m.tflite")


@pytest.mark.slow
def test_a_network_without_children_names_its_own_forward(tmp_path: Path) -> None:
    class Alone(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.median(-1).values.mean(2)

    with pytest.raises(ExportError, match=r"refuses Alone: its own forward \(Alone\), test_refusal\.py:\d+"):
        export_int8(Alone(), [images(2, 16)], tmp_path / "m.tflite")


def test_images_of_another_size_name_the_module_that_fails(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"Net can't take images of \(1, 16, 16\) \(C, H, W\): module 'stem' \(Conv2d\)"
    ):
        export_int8(Net(nn.Identity()), [images(2, 16)[:, :1]], tmp_path / "m.tflite")


def test_an_error_from_elsewhere_names_nothing() -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("no such device")
    assert raising_module(Net(nn.Identity()), caught.value) is None
    assert explain_refusal(Net(nn.Identity()), images(1, 16), caught.value) is None


def test_a_function_that_is_handed_the_network_is_not_its_code() -> None:
    def convert(model: nn.Module) -> None:
        raise RuntimeError(f"{model} is not to be blamed")

    net = nn.ReLU()
    with pytest.raises(RuntimeError) as caught:
        convert(net)
    assert raising_module(net, caught.value) is None
