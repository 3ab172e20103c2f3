from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sapool.detection import DETECTORS, make_detector, plan_backbone
from sapool.networks.load import load_model
from tests.detection.networks import tiny


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [torch.rand(3, 100, 140), torch.rand(3, 128, 96)]
    full = {"boxes": torch.tensor([[10.0, 10, 60, 80]]), "labels": torch.tensor([3])}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return images, [full, empty]


@pytest.mark.slow
@pytest.mark.parametrize("kind", DETECTORS)
def test_it_learns_from_images_of_any_size_and_empty_ones(kind: str) -> None:
    torch.manual_seed(0)
    model = tiny(kind)
    images, targets = batch()
    losses = model(images, targets)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    stem = next(model.backbone.parameters())
    assert stem.grad is not None
    assert stem.grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        found = model(images)
    assert len(found) == 2
    for image, prediction in zip(images, found, strict=True):
        limits = torch.tensor([image.shape[2], image.shape[1]] * 2)
        assert bool((prediction["boxes"] <= limits + 1e-3).all())
        assert bool((prediction["labels"] <= 3).all())


@pytest.mark.slow
@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (2, 4, 2, 2), (4, 4, 2, 2)])
@pytest.mark.parametrize("kind", DETECTORS)
def test_every_level_has_the_stride_that_anchors_and_rois_use(kind: str, strides: tuple[int, ...]) -> None:
    model = tiny(kind, strides).eval()
    own = tuple(model.backbone.strides)
    assert strides[0] * strides[1] * strides[2] * strides[3] in own
    for height, width in ((128, 128), (256, 384)):
        with torch.no_grad():
            levels = list(model.backbone(torch.rand(1, 3, height, width)).values())
        assert [tuple(x.shape[2:]) for x in levels] == [(-(-height // s), -(-width // s)) for s in own]
    if kind == "fasterrcnn":
        assert model.rpn.anchor_generator.strides == own
        # RoIs are pooled from all levels but the one that only the proposals have.
        assert model.roi_heads.box_roi_pool.scales == [1 / s for s in own[:-1]]
        assert model.transform.size_divisible == own[-2]
    elif kind == "retinanet":
        assert model.anchor_generator.strides == own


@pytest.mark.slow
def test_default_boxes_spread_over_the_map_that_comes_out() -> None:
    for strides in ((2, 2, 2, 2), (2, 4, 2, 2)):
        model = tiny("small", strides).eval()
        images, _ = model.transform([torch.rand(3, 128, 128)])
        boxes = model.anchor_generator(images, list(model.backbone(images.tensors).values()))[0]
        stride, cells = model.backbone.strides[0], 128 // model.backbone.strides[0]
        first = boxes[: cells * cells * 2 : 2]  # the smaller of the two boxes of every cell
        centres = (first[:, :2] + first[:, 2:]) / 2
        expected = torch.stack(
            torch.meshgrid(*[torch.arange(cells) * stride + stride / 2] * 2, indexing="xy"), -1
        ).reshape(-1, 2)
        torch.testing.assert_close(centres, expected)
        torch.testing.assert_close(first[0, 2] - first[0, 0], torch.tensor(min(3.0 * stride, 40.0)))


def test_sizes_are_height_and_width() -> None:
    images, _ = tiny("ssdlite", size=(64, 128)).eval().transform([torch.rand(3, 90, 90)])
    assert tuple(images.tensors.shape[2:]) == (64, 128)
    images, _ = tiny("retinanet", size=(64, 128)).eval().transform([torch.rand(3, 100, 400)])
    assert images.image_sizes == [(32, 128)]


@pytest.mark.parametrize(
    ("kind", "classes", "size", "said"),
    [
        ("fastrcnn", 3, 128, "did you mean fasterrcnn"),
        ("small", 0, 128, "num_classes must be at least 1"),
        ("fasterrcnn", 3, (256, 128), "shorter side"),
        ("ssdlite", 3, (0, 128), "height, width"),
    ],
)
def test_mistakes_are_named(kind: str, classes: int, size: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_detector(kind, load_model("sapool:tiny", 3), classes, image_size=size)


@pytest.mark.slow
def test_timms_features_and_torchvisions_classifiers_are_backbones() -> None:
    timm = pytest.importorskip("timm")
    resnet = timm.create_model("resnet18", features_only=True, pretrained=False)
    plan = plan_backbone(resnet, 128, "max", (4, 4, 2, 2, 2))
    made: Any = make_detector("fasterrcnn", resnet, 8, image_size=(800, 1333), plan=plan)
    assert made.backbone.strides == (16, 32, 64, 128, 256)
    assert [level.channels for level in made.backbone.body.levels] == [64, 128, 256, 512]
    made = make_detector("ssdlite", load_model("torchvision:mobilenet_v2"), 90, image_size=320)
    # As torchvision's own SSDLite: behind the expansion of the first block of stride 32, and behind the last layer.
    assert made.backbone.strides == (16, 32, 64, 128, 256, 512)
    assert made.anchor_generator.scales == pytest.approx([0.2 + 0.15 * k for k in range(6)] + [1.0])
    assert made.backbone.channels == (576, 1280, 512, 256, 256, 128)
